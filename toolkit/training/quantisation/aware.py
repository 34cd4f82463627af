"""Quantisation-aware training: the network learns with the grids that it will have, and makes up for them.

::

    aware = tk.quantisation.prepare(network, images, weights="int4")
    trainer = tk.Trainer(aware.network, loss=..., optimizer=..., straight_through=True)
    trainer.fit(aware.observing(batches, steps=100), epochs=3)
    save(aware.convert(), "quantised.onnx")

Weights and biases stay floats and pass a pair of QuantizeLinear and DequantizeLinear in every step; gradients go
through as if there was none. BatchNormalization is folded before: it learns as part of weight and bias, with the
statistics that the file has. Train a network that needs the statistics of its batches first, then prepare it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from toolkit.graph.network import Network
from toolkit.training.quantisation.calibration import Calibration, calibrated, detached, feeds_of, probe
from toolkit.training.quantisation.conversion import convert
from toolkit.training.quantisation.integers import (
    activation_integers,
    grid,
    largest_weight,
    weight_integers,
    weight_scale,
)
from toolkit.training.quantisation.observers import MovingAverage, Observer
from toolkit.training.quantisation.pairs import Pair, Paired, insert_pairs

MOMENTUM = 0.95


@dataclass(eq=False)
class QuantisationAware:
    """A network in training with its grids; ``network`` is what a ``Trainer`` takes, with ``straight_through=True``.

    ``learn_steps``: step sizes are parameters that learn, and ``observe`` leaves them alone.
    """

    network: Network
    calibration: Calibration = field(repr=False)
    learn_steps: bool
    _values: dict[str, Pair] = field(repr=False)
    _weights: list[Pair] = field(repr=False)
    _largest: int = field(repr=False)
    _observers: dict[str, MovingAverage] = field(init=False, repr=False)
    _probe: Network | None = field(init=False, default=None, repr=False)

    def __post_init__(self) -> None:
        self._observers = {}
        for name, pair in self._values.items():
            if name in self.calibration.observers:
                self._observers[name] = MovingAverage(MOMENTUM)
                self._observers[name].ends = self.calibration.range(name, pair.integers.levels)

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that are quantised."""
        return self.calibration.layers

    @property
    def left_out(self) -> dict[str, str]:
        """Why other layers of these operators are not."""
        return self.calibration.left_out

    def observe(self, x: Any) -> None:
        """Move the ranges of values towards those of a batch ``x``, and those of weights to what weights are now.

        It runs the network once more: do it for the first steps, then leave the grids as they are.
        """
        if self.learn_steps:
            return
        if self._probe is None:
            self._probe = probe(self.network, [self._values[name].source for name in self._observers])
        for feeds in feeds_of(self.network, x, batch_size=1 << 30):
            found = self._probe.run(feeds)
            for name, observer in self._observers.items():
                observer.observe(found[self._values[name].source])
        self._set_grids()

    def observing(self, batches: Iterable[Any], *, steps: int) -> Observing:
        """``batches`` of (x, labels) as data for ``Trainer.fit``; the first ``steps`` are observed on their way."""
        return Observing(self, batches, steps)

    def convert(self) -> Network:
        """The network as it is deployed: stored integers, int32 biases. This one stays, and may be trained further.

        Raises ``TrainingError`` for a step size that training has brought to 0 or below.
        """
        return convert(detached(self.network))

    def _set_grids(self) -> None:
        parameters = self.network.graph.parameters
        for name, observer in self._observers.items():
            pair, (least, most) = self._values[name], self.calibration.places.limits[name]
            low, high = observer.range(pair.integers.levels)
            scale, zero_point = grid(max(low, least), min(high, most), pair.integers)
            parameters[pair.scale].assign(scale)
            parameters[pair.zero_point].assign(zero_point)
        for pair in self._weights:
            weight = parameters[pair.source].array
            parameters[pair.scale].assign(weight_scale(weight, pair.axis, self._largest))


@dataclass(eq=False)
class Observing:
    """Batches that ``aware`` observes while the first ``steps`` of them pass, over all epochs together."""

    aware: QuantisationAware
    batches: Iterable[Any]
    steps: int

    def __iter__(self) -> Iterator[Any]:
        for batch in self.batches:
            if self.steps > 0:
                self.aware.observe(batch[0])
                self.steps -= 1
            yield batch


def prepare(
    network: Network | Calibration,
    data: Any = None,
    *patterns: str,
    skip: Sequence[str] = (),
    method: str | Observer = "min-max",
    weights: str = "int8",
    activations: str = "uint8",
    per_channel: bool = True,
    reduce_range: bool = True,
    learn_steps: bool = False,
    batch_size: int = 32,
) -> QuantisationAware:
    """A copy of ``network`` that computes on grids and can be trained; the network stays as it is.

    Options are those of ``quantise``. ``learn_steps``: the step sizes learn as well (LSQ, Esser et al. 2020), from what
    calibration gives them. Raises what ``quantise`` raises.
    """
    weight_type, activation_type = weight_integers(weights), activation_integers(activations)
    calibration = calibrated(network, data, patterns, skip=skip, method=method, batch_size=batch_size)
    largest = largest_weight(weight_type, reduce_range)
    paired: Paired = insert_pairs(
        calibration,
        weights=weight_type,
        activations=activation_type,
        per_channel=per_channel,
        largest=largest,
        learn_steps=learn_steps,
    )
    return QuantisationAware(paired.network, calibration, learn_steps, paired.values, paired.weights, largest)
