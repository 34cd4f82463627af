"""Every optimizer in the settings that tests compare: ours, and the name and settings of the same in PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import toolkit as tk
from toolkit import optimizers as O  # noqa: N812

Row = tuple[Callable[[], tk.optimizers.Optimizer], str, dict[str, Any]]

OPTIMIZERS: dict[str, Row] = {
    "sgd": (lambda: O.SGD(0.1), "SGD", {"lr": 0.1}),
    "sgd, decay": (lambda: O.SGD(0.1, weight_decay=0.1), "SGD", {"lr": 0.1, "weight_decay": 0.1}),
    "momentum": (lambda: O.SGD(0.1, 0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "dampening": (lambda: O.SGD(0.1, 0.9, 0.3), "SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "nesterov": (
        lambda: O.SGD(0.1, 0.9, weight_decay=0.02, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02, "nesterov": True},
    ),
    "adam": (lambda: O.Adam(), "Adam", {}),
    "adam, decay": (
        lambda: O.Adam(0.01, (0.8, 0.95), 1e-6, 0.1),
        "Adam",
        {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1},
    ),
    "amsgrad": (
        lambda: O.Adam(0.01, (0.5, 0.5), amsgrad=True),
        "Adam",
        {"lr": 0.01, "betas": (0.5, 0.5), "amsgrad": True},
    ),
    "adamw": (lambda: O.AdamW(0.01), "AdamW", {"lr": 0.01}),
    "adamw, decay": (lambda: O.AdamW(0.01, weight_decay=0.3), "AdamW", {"lr": 0.01, "weight_decay": 0.3}),
    "nadam": (lambda: O.NAdam(), "NAdam", {}),
    "nadam, decay": (
        lambda: O.NAdam(0.01, (0.8, 0.95), weight_decay=0.1, momentum_decay=0.1),
        "NAdam",
        {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.1, "momentum_decay": 0.1},
    ),
    "radam": (lambda: O.RAdam(0.01), "RAdam", {"lr": 0.01}),
    "radam, short": (
        lambda: O.RAdam(0.01, (0.8, 0.9), weight_decay=0.1),
        "RAdam",
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1},
    ),
    "adagrad": (lambda: O.Adagrad(), "Adagrad", {}),
    "adagrad, decays": (
        lambda: O.Adagrad(0.05, 0.1, 0.01, 0.5),
        "Adagrad",
        {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.01, "initial_accumulator_value": 0.5},
    ),
    "adadelta": (lambda: O.Adadelta(), "Adadelta", {}),
    "adadelta, decay": (
        lambda: O.Adadelta(0.5, 0.8, 1e-4, 0.01),
        "Adadelta",
        {"lr": 0.5, "rho": 0.8, "eps": 1e-4, "weight_decay": 0.01},
    ),
    "rmsprop": (lambda: O.RMSprop(), "RMSprop", {}),
    "rmsprop, centered": (
        lambda: O.RMSprop(0.01, 0.9, 1e-3, 0.01, 0.9, centered=True),
        "RMSprop",
        {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.01, "momentum": 0.9, "centered": True},
    ),
    "adafactor": (lambda: O.Adafactor(), "Adafactor", {}),
    "adafactor, decay": (
        lambda: O.Adafactor(0.2, -0.5, (1e-3, 1e-2), 1.5, 0.1),
        "Adafactor",
        {"lr": 0.2, "beta2_decay": -0.5, "eps": (1e-3, 1e-2), "d": 1.5, "weight_decay": 0.1},
    ),
    "lion": (lambda: O.Lion(0.003, weight_decay=0.1), "Lion", {"lr": 0.003, "weight_decay": 0.1}),
    "lamb": (lambda: O.LAMB(0.01), "LAMB", {"lr": 0.01}),
}
UNKNOWN_TO_TORCH = ("Lion", "LAMB")
