"""Training: trainers, losses, optimizers, metrics, checkpoints, and the replacement of heads."""

from toolkit.training import (
    adapters,
    callbacks,
    data,
    losses,
    metrics,
    optimizers,
    pruning,
    quantisation,
    schedules,
    surgery,
)
from toolkit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolkit.training.head import replace_head
from toolkit.training.history import Epoch, History
from toolkit.training.loss_scale import DynamicLossScale
from toolkit.training.prediction import predict
from toolkit.training.trainer import Trainer
from toolkit.training.training_info import add_training_info
from toolkit.training.training_network import training_network

__all__ = [
    "Checkpoint",
    "DynamicLossScale",
    "Epoch",
    "History",
    "Trainer",
    "adapters",
    "add_training_info",
    "callbacks",
    "data",
    "load_checkpoint",
    "losses",
    "metrics",
    "optimizers",
    "predict",
    "pruning",
    "quantisation",
    "replace_head",
    "save_checkpoint",
    "schedules",
    "surgery",
    "training_network",
]
