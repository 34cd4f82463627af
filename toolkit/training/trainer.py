"""The trainer: an objective and an optimizer over a network, which can be swapped for another of the same interface.

What happens in a step is compiled by ``toolkit.runtime.session``; the loop over epochs is ``toolkit.training.loop``.
Both use only what is public here, so a loop of one's own is a dozen lines.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from toolkit.autodiff import Rematerialise, Shortfall
from toolkit.compiler.training_choices import Asked
from toolkit.errors import GraphError, InputError, NonFiniteLossError, ToolkitError, TrainingError
from toolkit.graph.network import Network
from toolkit.graph.value import Value
from toolkit.runtime.feeds import sizes
from toolkit.runtime.session import TrainingSession
from toolkit.runtime.step_result import StepResult
from toolkit.runtime.training_program import Labels
from toolkit.training.averages import Averages
from toolkit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from toolkit.training.data import Batches
from toolkit.training.loop import fit as fit_trainer
from toolkit.training.loss_scale import DynamicLossScale
from toolkit.training.losses import Loss
from toolkit.training.metrics import AnyMetric
from toolkit.training.optimizers import Optimizer
from toolkit.training.optimizers.averaging import AVERAGE, swapped
from toolkit.training.prediction import predict
from toolkit.training.reception import Reception

Arrays = dict[str, np.ndarray]


class Trainer:
    """Trains ``network`` to make ``loss`` small.

    - ``backend``: where the network runs, a name or a preference list; ``loss_backend``: where the loss does.
    - ``threads``: processors to use, all by default. ``seed`` decides shuffling and dropout.
    - ``straight_through``: train through rounding as if it were the identity: ``True`` for QuantizeLinear with its
      DequantizeLinear and for Round, or the operators by name (Floor, Ceil and Sign are others). Step sizes of
      quantisation learn as well where they are unfrozen: ``select(...).unfreeze(settings=True)``.
    - ``batch_statistics``: what BatchNormalization uses, ``"batch"`` or ``"running"``, by default what the file says;
      ``network.select(...).freeze_statistics()`` and ``unfreeze_statistics()`` settle it for single layers.
    - ``rematerialise``: save memory by computing once more, in the backward pass, what the forward pass had; gradients
      stay the same. Patterns of layers, such as ``["encoder/*"]``: each scope that matches keeps only what enters it
      and what it hands on, each single layer that matches nothing. Or what the arena of a step may take, as a part of
      what it takes without (``0.5``) or in bytes (an ``int``): then what to compute again is chosen, cheap layers
      before costly ones. Raises ``TrainingError`` in the first step when a budget cannot be met, telling what can.
      Where nothing is asked for, steps that keep a gibibyte or more repeat what was normalised by the batch between
      two convolutions, which takes little time; with ``False`` nothing is repeated.

    - ``accumulate``: update after so many batches, by the mean over all of their items, as one large batch would.
      ``flush`` updates by what has come so far; ``fit`` does so at the end of an epoch.
    - ``precision``: as for a context, ``"mixed"`` for most. Parameters, the loss, the gradients that the optimizer gets
      and what it keeps stay float32.
    - ``loss_scale``: a ``DynamicLossScale``, for gradients that numbers of half width would lose; float16 has one by
      default.

    ``steps`` and ``epochs`` count what was done so far; ``terms`` are the parts of the last step's loss by name.
    Parameters with ``requires_grad=False`` stay as they are, and nothing is computed for them; freezing and unfreezing
    between steps is fine. Raises ``GraphError`` when the loss names an output the network lacks.
    """

    def __init__(
        self,
        network: Network,
        *,
        loss: Loss,
        optimizer: Optimizer,
        backend: str | Sequence[str] = "cpu",
        loss_backend: str | Sequence[str] | None = None,
        threads: int | None = None,
        precision: str = "float32",
        seed: int = 0,
        straight_through: Asked = None,
        batch_statistics: str | None = None,
        rematerialise: Rematerialise = None,
        accumulate: int = 1,
        loss_scale: DynamicLossScale | None = None,
    ) -> None:
        if not isinstance(loss, Loss) or not isinstance(optimizer, Optimizer):
            wrong = optimizer if isinstance(loss, Loss) else loss
            raise TrainingError(
                f"Trainer requires a loss of tk.losses and an optimizer of tk.optimizers, got {wrong!r}. "
                "Write for example loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-3)."
            )
        self.loss, self.optimizer, self.seed = loss, optimizer, seed
        if not isinstance(accumulate, int) or isinstance(accumulate, bool) or accumulate < 1:
            raise TrainingError(f"Trainer: accumulate requires a count of batches from 1, got {accumulate!r}.")
        if loss_scale is None and precision == "float16":
            loss_scale = DynamicLossScale()
        self.accumulate, self.loss_scale = accumulate, loss_scale
        self.steps = self.epochs = 0
        self._options = {
            "backend": backend,
            "loss_backend": loss_backend,
            "threads": threads,
            "precision": precision,
            "seed": seed,
            "straight_through": straight_through,
            "batch_statistics": batch_statistics,
            "rematerialise": rematerialise,
            "accumulates": accumulate > 1,
            "loss_scale": loss_scale,
        }
        self._first: dict[str, Any] | None = None
        self._expected: list[tuple[Any, Any, Arrays, Labels]] = []  # the present batch and the next
        self._start(network)

    # the network --------------------------------------------------------------------------------------------------

    @property
    def backend(self) -> str | Sequence[str]:
        """Where the network runs: the name or the preference list that it was made with."""
        return self._options["backend"]  # type: ignore[return-value]

    @property
    def network(self) -> Network:
        """The network in training. Another one of the same interface may be set; the optimizer then starts anew."""
        return self._network

    @network.setter
    def network(self, other: Network) -> None:
        require_same_interface(self._network, other)
        self.steps, self._first = 0, None
        self._start(other)

    def _start(self, network: Network) -> None:
        self._network, self._waiting = network, 0
        self._session = TrainingSession(network, self.loss, self.optimizer, **self._options)  # type: ignore[arg-type]
        self._made_for = self._signature()
        self._pending: Arrays | None = None
        self.judged_outputs = self._session.judged_outputs()
        self._reception = Reception(network, self.loss, self.judged_outputs)
        self.terms: dict[str, float] = {}

    def _signature(self) -> Any:
        """What a compiled step depends on beside the sizes of the batch."""
        learning = [
            (name, item.learning_rate, item.weight_decay)
            for name, item in self._network.parameters.items()
            if item.requires_grad
        ]
        statistics = [(leaf.path, leaf.statistics) for leaf in self._network.graph.leaves if leaf.statistics]
        return self._network.revision, learning, statistics

    def _current(self) -> TrainingSession:
        """The session; a new one with the old optimizer state when layers or frozen parameters changed."""
        if self._signature() != self._made_for:
            self.flush()
            state = self._session.state() if self._pending is None else self._pending
            random = self._session.random.bit_generator.state
            self._start(self._network)
            self._session.random.bit_generator.state, self._pending = random, state
        return self._session

    @property
    def shortfalls(self) -> dict[str, Shortfall]:
        """Which parameters with ``requires_grad`` get no gradient or only a part of it, and why; known after a step.

        ``onnx-toolkit inspect --train`` tells it before.
        """
        return self._session.shortfalls

    # one batch ----------------------------------------------------------------------------------------------------

    def train_minibatch(self, x: Any, labels: Any) -> tuple[float, Arrays]:
        """One step on one batch of any size; returns the mean loss over its real items and the network's outputs.

        ``x`` is an array, or a dict of arrays by input name. The outputs are those before the update. Raises
        ``InputError`` for data that does not fit and ``NonFiniteLossError``, with nothing updated, naming the layer.
        """
        feeds, accepted = self.accept(x, labels)
        session = self._current()
        self._restore_pending(session, feeds)
        weight = 1.0 if self.accumulate == 1 else self._weight(feeds, accepted)
        try:
            result = session.step(feeds, accepted, self.steps + 1, weight=weight)
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"Step {self.steps + 1} (epoch {self.epochs + 1}): {error}") from error
        if result.is_skipped:
            self._waiting = 0
        elif self.accumulate == 1:
            self.steps += 1
        else:
            self._waiting += 1
            if self._waiting == self.accumulate:
                self.flush()
        return self._loss_of(result), result.outputs

    def _weight(self, feeds: Arrays, labels: Labels) -> float:
        """The real items behind the loss of a batch; where its terms count differently, the items of the batch."""
        counts = set(self.loss.counts(labels, self.items(feeds)).values())
        return counts.pop() if len(counts) == 1 else self.items(feeds)

    @property
    def waiting(self) -> int:
        """How many batches were accumulated since the last update."""
        return self._waiting

    def flush(self) -> None:
        """Update by what was accumulated since the last update, if anything was."""
        if self._waiting:
            self._session.update(self.steps + 1)
            self.steps, self._waiting = self.steps + 1, 0

    def averaged(self) -> AbstractContextManager[None]:
        """Within ``with trainer.averaged():`` the network holds the averages that a transform of the optimizer keeps.

        Evaluate or save there; training goes on from the weights as they were. Raises ``TrainingError`` when the
        optimizer keeps none, or no step was done.
        """
        return swapped(self._session.kept(AVERAGE))

    def _loss_of(self, result: StepResult) -> float:
        assert result.loss is not None
        self.terms = result.terms
        return result.loss

    def gradients(self, x: Any, labels: Any) -> Arrays:
        """The gradient of the mean loss of one batch for every parameter that learns; nothing is updated."""
        return self._current().gradients(*self.accept(x, labels))

    def accept(self, x: Any, labels: Any) -> tuple[Arrays, Labels]:
        """One batch as the compiled step takes it: feeds by input name, labels as the loss wants them.

        Labels may be names of classes where the model's metadata has such names (``surgery.class_names``).
        """
        for known in self._expected:
            if x is known[0] and labels is known[1]:
                self._expected = [item for item in self._expected if item is not known]
                return known[2:]
        return self._reception.received(x, labels)

    @property
    def looks_ahead(self) -> bool:
        """Whether it wins anything by ``expect``: a device beside the host takes part."""
        return self._session.has_device

    def expect(self, x: Any, labels: Any) -> None:
        """Say which batch is trained on behind the next one, as it is now: it goes to the device meanwhile.

        The arrays are not to be written to before. A batch that does not fit is refused when its turn comes.
        """
        try:
            feeds, accepted = self.accept(x, labels)
        except ToolkitError:
            return
        self._expected = [*self._expected[-1:], (x, labels, feeds, accepted)]
        self._session.expect(feeds, accepted)

    def items(self, feeds: Arrays) -> int:
        """How many items a batch of accepted ``feeds`` holds."""
        batch, _ = sizes(self._network, feeds)
        return 1 if batch is None else batch

    # many batches -------------------------------------------------------------------------------------------------

    fit = fit_trainer

    def predict(self, x: Any, *, output: str | None = None, batch_size: int = 64) -> np.ndarray:
        """The likeliest class of each item, by name where the model has names; see ``training.prediction.predict``."""
        judged = self.judged_outputs[0] if output is None and len(self.judged_outputs) == 1 else output
        return predict(self._network, x, output=judged, batch_size=batch_size)

    def evaluate(
        self, data: Any, *, batch_size: int = 64, metrics: Mapping[str, AnyMetric] | None = None
    ) -> dict[str, float]:
        """``loss`` and metrics (accuracy for losses over classes), inference semantics, as means over real items.

        Metrics that accumulate hold what they saw until they are started again: a confusion matrix can be shown.
        """
        means = Averages(self.loss, self.loss.metrics() if metrics is None else metrics)
        for feeds, accepted, result in self.judge(data, batch_size=batch_size):
            means.add(result.terms, result.outputs, accepted, self.items(feeds))
        return means.result()

    def judge(self, data: Any, *, batch_size: int = 64) -> Iterator[tuple[Arrays, Labels, StepResult]]:
        """Inference semantics, batch by batch in the order of ``data``: its feeds, its labels, loss and outputs."""
        for x, labels in Batches.of(data, batch_size):
            feeds, accepted = self.accept(x, labels)
            yield feeds, accepted, self._current().evaluate(feeds, accepted)

    # going on later -----------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Parameters, optimizer state, random state and progress as they are now; flushes before."""
        self.flush()
        session = self._current()
        state = session.state() if self._pending is None else self._pending
        progress = {
            "steps": self.steps,
            "epochs": self.epochs,
            "seed": self.seed,
            "random": session.random.bit_generator.state,
            "first": self._first,
        }
        if self.loss_scale is not None:
            progress["loss_scale"] = [self.loss_scale.value, self.loss_scale.good, self.loss_scale.skipped]
        numeric = {name: item.array for name, item in self._network.parameters.items() if item.dtype != object}
        return Checkpoint(numeric, state, progress)

    def restore(self, checkpoint: Checkpoint, where: str = "") -> None:
        """Go on from ``checkpoint``: with the same data, loss and optimizer the run continues as if unbroken.

        Raises ``TrainingError``, naming ``where`` it came from, when it belongs to another network.
        """
        own = {name: item for name, item in self._network.parameters.items() if item.dtype != object}
        checkpoint.require_same(own, where)
        for name, array in checkpoint.parameters.items():
            own[name].assign(array)
        progress = checkpoint.progress
        self.steps, self.epochs, self.seed = (int(progress[name]) for name in ("steps", "epochs", "seed"))
        self._start(self._network)
        self._session.random.bit_generator.state = progress["random"]
        if self.loss_scale is not None and "loss_scale" in progress:
            self.loss_scale.value, self.loss_scale.good, self.loss_scale.skipped = progress["loss_scale"]
        self._pending, self._first = checkpoint.state, progress["first"]

    def save_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Write ``checkpoint()`` to one file, atomically."""
        save_checkpoint(path, self.checkpoint())

    def load_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """``restore`` what ``save_checkpoint`` wrote. Raises ``TrainingError`` when the file is damaged, too."""
        self.restore(load_checkpoint(path), os.fspath(path))

    def _restore_pending(self, session: TrainingSession, feeds: Arrays) -> None:
        """Hand optimizer state over to a session, which can take it once the first batch tells what to compile.

        The first batch decides the layouts of the weights, and with them the order of sums: a run that goes on with a
        smaller one would differ in the last bit. So the sizes of the first batch of all are compiled first.
        """
        if self._pending is None and self._first is not None:
            return
        learning = [name for name, item in self._network.parameters.items() if item.requires_grad]
        if self._first is None or self._first["learning"] != learning:
            self._first = {
                "learning": learning,
                "shapes": {name: list(np.shape(array)) for name, array in feeds.items()},
            }
        if self._pending is not None:
            pending, self._pending = self._pending, None
            shapes = {name: tuple(shape) for name, shape in self._first["shapes"].items()}
            is_same = shapes == {name: array.shape for name, array in feeds.items()}
            zeros = {} if is_same else {name: np.zeros(shape, feeds[name].dtype) for name, shape in shapes.items()}
            session.restore(pending, zeros or feeds)


def require_same_interface(network: Network, other: Network) -> None:
    """Raise ``GraphError`` unless both networks take and give values of equal names, types and unit shapes."""
    if not isinstance(other, Network):
        raise InputError(f"A trainer takes a Network, got {type(other).__name__}. Load one with importers.load.")
    for what, mine, theirs in (
        ("inputs", network.inputs, other.inputs),
        ("outputs", network.outputs, other.outputs),
    ):
        if _interface(mine) != _interface(theirs):
            raise GraphError(
                f"The network to swap in needs the {what} {_described(mine)}, got {_described(theirs)}. Make a new "
                "Trainer for a network with another interface."
            )


def _interface(values: Mapping[str, Value]) -> dict[str, Any]:
    return {name: (value.kind, value.dtype, value.unit_shape) for name, value in values.items()}


def _described(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{name!r} {value.describe()}" for name, value in values.items())
