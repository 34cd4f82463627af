"""Initialisers: how the first content of a parameter is drawn. Each is a description; the draw gets the random source.

``fan_in`` and ``fan_out`` are the numbers of inputs that reach one output, and of outputs that one input reaches.
Glorot and He are the initialisations of Glorot & Bengio (2010) and of He et al. (2015).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np


class Initialiser(ABC):
    """Draws the first content of a parameter."""

    @abstractmethod
    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        """A float64 array of ``shape``; the layer converts it to the type of its parameter."""


@dataclass(frozen=True, slots=True)
class Constant(Initialiser):
    """Every element is ``value``."""

    value: float = 0.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        return np.full(shape, self.value)


@dataclass(frozen=True, slots=True)
class Uniform(Initialiser):
    """Uniform in [``low``, ``high``)."""

    low: float = -0.05
    high: float = 0.05

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        return random.uniform(self.low, self.high, shape)


@dataclass(frozen=True, slots=True)
class Normal(Initialiser):
    """Gaussian with ``mean`` and ``standard_deviation``."""

    mean: float = 0.0
    standard_deviation: float = 0.05

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        return random.normal(self.mean, self.standard_deviation, shape)


@dataclass(frozen=True, slots=True)
class GlorotUniform(Initialiser):
    """Uniform within +-``gain`` * sqrt(6 / (fan_in + fan_out))."""

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        limit = self.gain * np.sqrt(6.0 / max(1, fan_in + fan_out))
        return random.uniform(-limit, limit, shape)


@dataclass(frozen=True, slots=True)
class GlorotNormal(Initialiser):
    """Gaussian with standard deviation ``gain`` * sqrt(2 / (fan_in + fan_out))."""

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        return random.normal(0.0, self.gain * np.sqrt(2.0 / max(1, fan_in + fan_out)), shape)


@dataclass(frozen=True, slots=True)
class HeUniform(Initialiser):
    """Uniform within +-``gain`` * sqrt(3 / fan_in); the default gain suits ReLU."""

    gain: float = 2.0**0.5

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        limit = self.gain * np.sqrt(3.0 / max(1, fan_in))
        return random.uniform(-limit, limit, shape)


@dataclass(frozen=True, slots=True)
class HeNormal(Initialiser):
    """Gaussian with standard deviation ``gain`` / sqrt(fan_in); the default gain suits ReLU."""

    gain: float = 2.0**0.5

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        return random.normal(0.0, self.gain / np.sqrt(max(1, fan_in)), shape)


@dataclass(frozen=True, slots=True)
class TruncatedNormal(Initialiser):
    """Gaussian with ``mean`` and ``standard_deviation``; what lies further than two deviations off is drawn anew."""

    mean: float = 0.0
    standard_deviation: float = 0.05

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        found = random.normal(0.0, 1.0, shape)
        while (far := np.abs(found) > 2.0).any():
            found[far] = random.normal(0.0, 1.0, int(far.sum()))
        return self.mean + self.standard_deviation * found


@dataclass(frozen=True, slots=True)
class LeCunNormal(Initialiser):
    """Gaussian with standard deviation ``gain`` / sqrt(fan_in); suits SELU (Klambauer et al., 2017)."""

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        return random.normal(0.0, self.gain / np.sqrt(max(1, fan_in)), shape)


@dataclass(frozen=True, slots=True)
class FanInUniform(Initialiser):
    """Uniform within +-1 / sqrt(fan_in): what recurrent layers start with."""

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        limit = 1.0 / np.sqrt(max(1, fan_in))
        return random.uniform(-limit, limit, shape)


@dataclass(frozen=True, slots=True)
class Orthogonal(Initialiser):
    """Rows (or columns, whichever are fewer) orthonormal, times ``gain`` (Saxe et al., 2014).

    Axes behind the first count as one; a vector is scaled to length ``gain``.
    """

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        rows = shape[0] if len(shape) > 1 else 1
        columns = int(np.prod(shape)) // max(1, rows)
        q, r = np.linalg.qr(random.normal(0.0, 1.0, (max(rows, columns), min(rows, columns))))
        q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # evenly distributed over all such matrices
        return self.gain * (q if rows >= columns else q.T).reshape(shape)


@dataclass(frozen=True, slots=True)
class Identity(Initialiser):
    """Ones on the diagonal of the first two axes (at the centre of a kernel), zeros elsewhere, times ``gain``."""

    gain: float = 1.0

    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int) -> np.ndarray:
        found = np.zeros(shape)
        for channel in range(min(shape[:2]) if len(shape) > 1 else shape[0]):
            found[(channel, channel, *(size // 2 for size in shape[2:]))[: len(shape)]] = self.gain
        return found


# What layers use unless told otherwise; descriptions hold no state, so they are shared.
ZEROS = Constant()
GLOROT_UNIFORM = GlorotUniform()
HE_UNIFORM = HeUniform()
STANDARD_NORMAL = Normal(0.0, 1.0)
FAN_IN_UNIFORM = FanInUniform()
