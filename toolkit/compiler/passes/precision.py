"""Precision: which nodes compute on numbers of half width, and the Casts between them and the others.

- Products (convolutions, matrix products, their gradients) take narrow factors. Their result is narrow where somebody
  reads it so, unless what is added to it must stay float32; bias and residual are read as they lie.
- Elementwise operators, pooling and movement of data are narrow where one of the tensors given to them is, and none
  must stay float32: what normalisations (in ``mixed``), losses, reductions and exponents give, and what holds constants
  that the narrow type lacks.
- Normalisations and softmax are float32 in ``mixed``; else their data follows, their parameters and statistics do not.
  Their gradients are float32 always. BatchNormalization is an exception to both: between convolutions, it follows,
  and so does its gradient.

Inputs, outputs, parameters, gradients that are handed out, losses and updates keep their types. A tensor is cast once,
whoever reads it, but a parameter once in each pass: its narrow copy need not lie in memory from one to the other. What
is cast from parameters and constants alone depends on nothing else, so inference does it once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import ml_dtypes
import numpy as np

from toolkit.compiler.passes.precision_families import FACTORS, RESIDUAL, Family, family_of, followed
from toolkit.compiler.program import Node, Program, Variable
from toolkit.errors import BackendError
from toolkit.operators import wire

FLOAT32 = np.dtype(np.float32)
NORMALISING = (Family.NORMALISATION, Family.IMAGES)
CAST_VERSION = 13


class Precision(NamedTuple):
    """The type of half width, and whether normalisations and softmax keep out of it."""

    dtype: np.dtype
    is_mixed: bool = False


RELAXED = "tf32"  # float32 in memory; products may round their factors, where a device is faster then
PRECISIONS: dict[str, Precision | None] = {
    "float32": None,
    RELAXED: None,
    "bfloat16": Precision(np.dtype(ml_dtypes.bfloat16)),
    "float16": Precision(np.dtype(np.float16)),
    "mixed": Precision(np.dtype(ml_dtypes.bfloat16), is_mixed=True),
}


def precision_named(name: str) -> Precision | None:
    """The precision of that name, ``None`` if no tensor is narrow. Raises ``BackendError`` for names that are none."""
    if name not in PRECISIONS:
        raise BackendError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}, got {name!r}.")
    return PRECISIONS[name]


def use_precision(program: Program, precision: Precision) -> None:
    """Let the nodes of a program compute in ``precision`` as described above."""
    _Narrowing(program, precision).run()


class _Narrowing:
    """One walk. Every float32 variable may have a narrow form; where a node gives that, a Cast makes the variable."""

    def __init__(self, program: Program, precision: Precision) -> None:
        self.program, self.dtype, self.is_mixed = program, precision.dtype, precision.is_mixed
        self.narrow: dict[Variable, Variable] = {}
        self.narrow_again: dict[Variable, Variable] = {}  # parameters, for the backward pass
        self.given: set[Variable] = set()  # variables whose narrow form a node gives
        self.uncast: set[Variable] = set()  # of these, the ones that nobody has read in float32 so far
        self.must_stay: set[Variable] = set()
        self.known: set[Variable] = set()  # computed from parameters and constants alone

    def run(self) -> None:
        nodes, self.program.nodes = self.program.nodes, []
        self.families = _families(nodes, self.is_mixed)
        self.readers, self.roots = _narrow_readers(self.families), set(self.program.roots())
        for node in nodes:
            if self._is_narrow(node):
                self._use_narrow(node)
            else:
                for item in node.inputs:
                    self._widen(item, node.role)
                self.program.nodes.append(node)
        for item in self.program.roots():
            self._widen(item)

    # deciding -----------------------------------------------------------------------------------------------------

    def _is_narrow(self, node: Node) -> bool:
        """Whether a node computes on narrow tensors; what else it gives is noted."""
        outputs = [item for item in node.outputs if item is not None and item.dtype == FLOAT32]
        tensors = [item for item in node.inputs if item is not None and item.dtype == FLOAT32]
        family = self.families[node]
        if node.inputs and all(item is None or self._is_known(item) for item in node.inputs):
            self.known.update(item for item in node.outputs if item is not None)
            return False
        if family is Family.PRODUCT:
            added = [item for item in node.inputs[len(FACTORS) :] if item is not None]
            if any(item in self.must_stay or not self._fits(item) for item in added):
                self.must_stay.update(outputs)
            return bool(outputs) and all(self._fits(node.inputs[index]) for index in FACTORS)
        moving = [item for item in tensors if not self._is_known(item)]
        stays = any(item in self.must_stay for item in moving) or not all(map(self._fits, tensors))
        if family is None or (stays and family is not Family.IMAGES):
            self.must_stay.update(outputs)
            return False
        led = [node.inputs[followed(node)]] if family in NORMALISING else moving
        return bool(outputs) and any(item in self.given for item in led)

    def _is_known(self, item: Variable) -> bool:
        return item.constant is not None or item.parameter is not None or item in self.known

    def _fits(self, item: Variable | None) -> bool:
        """Whether the narrow type has the content of a constant, roughly: neither infinity for it nor zero."""
        if item is None or item.constant is None or item.dtype != FLOAT32:
            return True
        content = item.constant[np.isfinite(item.constant)]
        with np.errstate(over="ignore", under="ignore"):
            rounded = content.astype(self.dtype).astype(FLOAT32)
        return bool(np.all(np.isfinite(rounded) & ((rounded != 0) | (content == 0))))

    # rewriting ----------------------------------------------------------------------------------------------------

    def _use_narrow(self, node: Node) -> None:
        family = self.families[node]
        for index, item in enumerate(node.inputs):
            if item is None or item.dtype != FLOAT32:
                continue
            if self._reads_narrow(node, index, item):
                node.inputs[index] = self._narrowed(item, node.role)
            else:
                self._widen(item, node.role)
        self.program.nodes.append(node)
        for index, item in enumerate(node.outputs):
            if item is None or item.dtype != FLOAT32 or (family in NORMALISING and index):
                continue
            if family is Family.PRODUCT and (item not in self.readers or item in self.must_stay):
                continue
            made = Variable(item.name, self.dtype, item.shape, producer=node)
            node.outputs[index], self.narrow[item] = made, made
            self.given.add(item)
            self.uncast.add(item)

    def _reads_narrow(self, node: Node, index: int, item: Variable) -> bool:
        family = self.families[node]
        if family in NORMALISING:
            return index <= followed(node)
        if family is Family.PRODUCT:
            return index in FACTORS or item in self.given
        return family is Family.MOVEMENT or item.constant is None or item.size != 1  # one number is no tensor to read

    def _narrowed(self, item: Variable, role: str) -> Variable:
        """The narrow form of a variable; what comes from outside is there when the first pass reads it."""
        found = self.narrow_again if item.parameter is not None and role == "backward" else self.narrow
        if item in found:
            return found[item]
        made = Variable(item.name, self.dtype, item.shape)
        if item.constant is not None:
            made.constant = item.constant.astype(self.dtype)
        else:
            self._cast(item, made, role if item.producer is None else item.producer.role)
        found[item] = made
        return made

    def _widen(self, item: Variable | None, role: str = "forward") -> None:
        """Let a variable be there in float32, for a reader of that role.

        The backward pass widens for itself what it alone wants wide: less is to be kept for it. Else the pass does that
        makes the variable.
        """
        if item is not None and item in self.uncast:
            self.uncast.remove(item)
            made_by = self.narrow[item].producer
            assert made_by is not None
            is_alone = role == "backward" and item not in self.roots
            self._cast(self.narrow[item], item, role if is_alone else made_by.role)

    def _cast(self, source: Variable, target: Variable, role: str) -> None:
        """Add a Cast: here, or right behind what it reads where another pass is to execute it than reads it."""
        layer = source.name if source.producer is None else source.producer.layer
        to = {"to": wire.element_type(target.dtype)}
        node = Node("Cast", "", CAST_VERSION, [source], [target], to, layer, role=role)
        target.producer = node
        nodes, made_by = self.program.nodes, source.producer
        if made_by is not None and made_by.role == role != nodes[-1].role:
            nodes.insert(nodes.index(made_by) + 1, node)
        else:
            nodes.append(node)


def _families(nodes: Collection[Node], is_mixed: bool) -> dict[Node, Family | None]:
    """What each node is treated as; ``None`` for those that compute in float32 whatever they are given."""
    found = {node: family_of(node) for node in nodes}
    normalising = {node.layer for node, family in found.items() if family in NORMALISING}
    for node, family in found.items():
        is_gradient = node.role == "backward" and node.layer in normalising and family is not Family.IMAGES
        if is_gradient or (family is Family.NORMALISATION and is_mixed):
            found[node] = None
    return found


def _narrow_readers(families: Mapping[Node, Family | None]) -> set[Variable]:
    """The variables that some node would read narrow.

    Convolutions add what lies narrow; a sum that runs through products of matrices is theirs alone to keep wide.
    """
    found: set[Variable] = set()
    for node, family in families.items():
        if family is not None:
            count = len(FACTORS) if family is Family.PRODUCT else len(node.inputs)
            count = 1 + followed(node) if family in NORMALISING else count
            residual = node.inputs[RESIDUAL:] if node.op_type == "FusedConv" else []
            found.update(item for item in (*node.inputs[:count], *residual) if item is not None)
    return found
