"""A small network, its data and its trainers, for tests of the runtime on the pretended device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import toolkit as tk
from tests.support.pretend_device import PretendBackend
from toolkit import layers

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.standard_normal((16, 1, 8, 8)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, 16)

Register = Callable[..., PretendBackend]


def network(seed: int = 0) -> tk.Network:
    return layers.Sequential(
        [
            layers.Convolution(4, 3, bias=False),  # whose gradient would be but rounding behind what follows
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPool(2),
            layers.Flatten(),
            layers.Linear(8),
            layers.Tanh(),
            layers.Linear(3),
        ]
    ).network((1, 8, 8), seed=seed)


def trainer(backend: object, **options: object) -> tk.Trainer:
    settings = {"loss": tk.losses.SoftmaxCrossEntropy(), "optimizer": tk.optimizers.AdamW(0.01), **options}
    return tk.Trainer(network(), backend=backend, **settings)


def losses(made: tk.Trainer, steps: int = 4) -> list[float]:
    return [made.train_minibatch(IMAGES, LABELS)[0] for _ in range(steps)]
