"""Training: trainers, losses, optimizers, metrics, checkpoints, and the replacement of heads."""

from toolkit.training import data, losses, metrics, optimizers, schedules
from toolkit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolkit.training.head import replace_head
from toolkit.training.history import Epoch, History
from toolkit.training.trainer import Trainer
from toolkit.training.training_info import add_training_info
from toolkit.training.training_network import training_network

__all__ = [
    "Checkpoint",
    "Epoch",
    "History",
    "Trainer",
    "add_training_info",
    "data",
    "load_checkpoint",
    "losses",
    "metrics",
    "optimizers",
    "replace_head",
    "save_checkpoint",
    "schedules",
    "training_network",
]
