"""Small networks and data that the training tests share."""

import numpy as np

from toolkit import layers
from toolkit.graph import Network


def classifier(*last, classes=3, features=6, seed=0) -> Network:
    """features -> 16 -> classes logits, then the layers in ``last``."""
    body = [layers.Linear(16), layers.Tanh(), layers.Linear(classes)]
    return layers.Sequential([*body, *last]).network((features,), seed=seed, input_name="x", output_name="y")


def clusters(items=150, classes=3, features=6, seed=0):
    """Noisy points around one centre a class: easy to learn, impossible to guess."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, features)) * 2
    labels = random.integers(0, classes, items)
    return (centres[labels] + random.standard_normal((items, features)) * 0.4).astype(np.float32), labels


def weights(network: Network) -> dict[str, np.ndarray]:
    """A copy of all parameters."""
    return {name: item.array.copy() for name, item in network.parameters.items()}
