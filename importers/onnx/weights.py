"""Tells the weights of a network from its other floating-point tensors, which training must leave alone.

A file keeps both as initializers: what was learnt, and the numbers of formulas. A tensor is no weight when

- an operator reads it at a place that holds a setting (``SETTINGS``): the exponent of Pow, the bounds of Clip, the
  scales of Resize, the running statistics of BatchNormalization, a step of quantisation, an initial state, a mask
- it is one number that only elementwise operators read (an epsilon, a factor, 6 for a HardSwish), except the bias that
  is added to a linear layer with one output
- it is subtracted from an input of the network, or divides it, before any weight: the normalisation of the data
- it holds infinity, or only 0 and a number of at most -1000: a mask that is added to scores

What an operator only moves (Reshape, Transpose, Concat, ...) is judged by who reads the result. ``Parameter.role`` says
what a tensor is that is no weight; it is frozen then, and unfrozen only by who asks for that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.graph import Graph, Leaf, Network, Parameter
from toolkit.graph.parameter import is_trainable_dtype

STATES = {5: "an initial state", 6: "an initial state"}
COMPARED = {0: "what is compared", 1: "what is compared"}
CLASS_WEIGHTS = {2: "the weights of the classes"}
SETTINGS: dict[str, dict[int, str]] = {
    **dict.fromkeys(("RNN", "LSTM", "GRU"), STATES),
    **dict.fromkeys(("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"), COMPARED),
    "Attention": {3: "the mask"},
    "BatchNormalization": {3: "the running mean", 4: "the running variance"},
    "Clip": {1: "a bound", 2: "a bound"},
    "Dropout": {1: "the ratio"},
    "NegativeLogLikelihoodLoss": CLASS_WEIGHTS,
    "NonMaxSuppression": {3: "a threshold", 4: "a threshold"},
    "OneHot": {2: "the two values"},
    "Pad": {2: "what is filled in"},
    "Pow": {1: "the exponent"},
    "QuantizeLinear": {1: "the step size"},
    "Range": {0: "the start", 1: "the end", 2: "the step"},
    "Resize": {1: "the region or the scales", 2: "the scales"},
    "RotaryEmbedding": {1: "the angles", 2: "the angles"},
    "STFT": {2: "the window"},
    "SoftmaxCrossEntropyLoss": CLASS_WEIGHTS,
    "Upsample": {1: "the scales"},
    "com.microsoft::RotaryEmbedding": {2: "the angles", 3: "the angles"},
}
RESHAPING = ("Expand", "Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
MOVING = frozenset(("Cast", "CastLike", "Concat", "Identity", "Slice", "Split", "Tile", *RESHAPING))
ELEMENTWISE = frozenset(("Add", "Div", "Max", "Mean", "Min", "Mod", "Mul", "Pow", "Sub", "Sum", "Where"))
OUTPUTS = {"MatMul": -1, "Conv": 0, "ConvTranspose": 1}  # the axis of the weight that counts the outputs
LOWEST = -1000.0  # what a mask adds is below
LARGEST_MASK = 1 << 20  # elements; larger tensors are not looked into


@dataclass(eq=False, slots=True)
class Candidate:
    """A floating-point tensor of a graph: a parameter, or what a Constant leaf holds.

    ``tensor`` has its shape and size; the content of a parameter may lie in the file yet. ``settings`` and ``numbers``
    say where it is read as a setting, or as an operand that is part of a formula if it is a single number.
    ``is_weight``: somebody reads it as a weight.
    """

    name: str
    tensor: Parameter | np.ndarray
    source: Parameter | Leaf
    graph: Graph
    settings: list[str] = field(default_factory=list)
    numbers: list[str] = field(default_factory=list)
    is_weight: bool = False

    @property
    def array(self) -> np.ndarray:
        """The content, read from the file if need be."""
        return self.tensor.array if isinstance(self.tensor, Parameter) else self.tensor

    @property
    def is_read(self) -> bool:
        return bool(self.settings or self.numbers or self.is_weight)

    @property
    def role(self) -> str:
        """What the tensor is when it is no weight, else empty."""
        if self.settings:
            return self.settings[0]
        if self.tensor.size == 1 and self.numbers and not self.is_weight:
            return self.numbers[0]
        is_operand = bool(self.numbers) and not self.is_weight and self.tensor.size <= LARGEST_MASK
        return self.numbers[0].replace("a number", "a mask") if is_operand and _is_mask(self.array) else ""


def candidates(network: Network) -> list[Candidate]:
    """Every floating-point parameter and Constant leaf of the network, those of bodies and functions included."""
    reader = _Reader()
    reader.read(network.graph, {}, set(network.inputs))
    for function in network.functions.values():
        reader.read(function, {}, set())
    return reader.found


def freeze_settings(found: Sequence[Candidate]) -> None:
    """Give the parameters that are no weights their role, and freeze them."""
    for item in found:
        if isinstance(item.source, Parameter) and item.role:
            item.source.role, item.source.requires_grad = item.role, False


def constant_content(leaf: Leaf) -> np.ndarray | None:
    """The tensor of a floating-point Constant leaf, else ``None``."""
    if leaf.op_type != "Constant" or leaf.domain or len(leaf.attributes) != 1 or len(leaf.outputs) != 1:
        return None
    ((name, value),) = leaf.attributes.items()
    if name == "value" and isinstance(value, np.ndarray) and is_trainable_dtype(value.dtype):
        return value
    return np.asarray(value, np.float32) if name == "value_floats" and isinstance(value, list) else None


class _Reader:
    """Follows every tensor to the operators that use it.

    ``held`` maps the values that come from the file alone to the floating-point tensors in them; ``raw`` are the values
    that come from inputs of the network and that no weight has touched.
    """

    def __init__(self) -> None:
        self.found: list[Candidate] = []
        self.narrow: set[str] = set()  # results of linear layers with one output

    def read(self, graph: Graph, outer: Mapping[str, list[Candidate]], raw: set[str]) -> None:
        """Note who reads the tensors of a graph, and of those around it."""
        held = {name: items for name, items in outer.items() if name not in graph.inputs}
        for name, parameter in graph.parameters.items():
            held[name] = self._made(name, parameter, parameter, graph)
        for leaf in graph.leaves:
            if leaf.op_type == "Constant" and not leaf.domain:
                content = constant_content(leaf)
                name = leaf.outputs[0] if leaf.outputs else ""
                held[name] = [] if content is None else self._made(name, content, leaf, graph)
            elif _is_moved(leaf, held):
                moved = [item for name in leaf.inputs for item in held.get(name, ())]
                held.update((name, moved) for name in leaf.outputs if name)
            else:
                self._note(leaf, held, raw)
                for body in leaf.bodies:
                    self.read(body, held, raw - set(body.inputs))
        for name in graph.outputs:
            for item in held.get(name, ()):
                item.numbers.append("an output of the graph")

    def _made(
        self, name: str, tensor: Parameter | np.ndarray, source: Parameter | Leaf, graph: Graph
    ) -> list[Candidate]:
        if not is_trainable_dtype(tensor.dtype):
            return []
        self.found.append(Candidate(name, tensor, source, graph))
        return self.found[-1:]

    def _note(self, leaf: Leaf, held: Mapping[str, list[Candidate]], raw: set[str]) -> None:
        """Note one reader."""
        stays_raw = any(name in raw for name in leaf.inputs) and _is_plain(leaf)
        for index, name in enumerate(leaf.inputs):
            setting = _setting(leaf, index, held, raw)
            for item in held.get(name, ()):
                if setting:
                    item.settings.append(f"{setting} in {leaf.operator} {leaf.path!r}")
                elif _is_plain(leaf) and not (leaf.op_type == "Add" and not self.narrow.isdisjoint(leaf.inputs)):
                    item.numbers.append(f"a number in {leaf.operator} {leaf.path!r}")
                else:
                    item.is_weight = True
                stays_raw = stays_raw and (bool(setting) or item.tensor.size == 1)
        if stays_raw:
            raw.update(leaf.outputs)
        weight = held.get(leaf.inputs[1], ()) if leaf.op_type in OUTPUTS and len(leaf.inputs) > 1 else ()
        if any(len(item.tensor.shape) > 1 and item.tensor.shape[OUTPUTS[leaf.op_type]] == 1 for item in weight):
            self.narrow.update(leaf.outputs)


def _is_plain(leaf: Leaf) -> bool:
    return not leaf.domain and (leaf.op_type in ELEMENTWISE or leaf.op_type in MOVING)


def _is_moved(leaf: Leaf, held: Mapping[str, object]) -> bool:
    """Whether a leaf only moves what comes from the file; where to may depend on data."""
    contents = leaf.inputs if leaf.op_type == "Concat" else leaf.inputs[:1]
    return not leaf.domain and leaf.op_type in MOVING and bool(contents) and all(name in held for name in contents)


def _setting(leaf: Leaf, index: int, held: Mapping[str, object], raw: set[str]) -> str:
    """Which setting of an operator its input ``index`` is, empty for none."""
    if "QLinear" in leaf.op_type or (leaf.op_type == "DequantizeLinear" and index == 1 and leaf.inputs[0] not in held):
        return "the step size"
    if leaf.op_type in ("Sub", "Div") and not leaf.domain and index == 1 and leaf.inputs[0] in raw:
        return "the normalisation of the data"
    return SETTINGS.get(leaf.operator, {}).get(index, "")


def _is_mask(array: np.ndarray) -> bool:
    """Whether a tensor holds infinity, or only 0 and a number that a softmax turns into 0."""
    numbers = array.astype(np.float32)
    if not np.isfinite(numbers).all():
        return True
    lowest = numbers.min(initial=0.0)
    return bool(lowest <= LOWEST and ((numbers == 0) | (numbers == lowest)).all())
