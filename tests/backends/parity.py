"""Runs a program of a few nodes through a plan on the backend ``cpu``, its inputs lying in memory as a test wishes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tests.support.case import Case
from tests.support.interpret import apply
from toolkit.backends.host import HostBackend
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.onednn.memory import layout_of, strided, tagged
from toolkit.backends.protocol import Backend, Kernel, Layout, Resources, plain
from toolkit.compiler.placement import place
from toolkit.compiler.program import Node, Program, Variable
from toolkit.runtime.plan import Plan

ONEDNN = OneDNNBackend()
FLOAT32 = np.dtype(np.float32)
Shape = tuple[int, ...]
Laying = Callable[[Shape], Layout | None]

# oneDNN's format tags by rank: channels last, channels in blocks of 16 and of 8.
CHANNELS_LAST, BLOCKS_OF_16, BLOCKS_OF_8 = {3: 15, 4: 22, 5: 33}, {3: 56, 4: 78, 5: 121}, {3: 69, 4: 102, 5: 142}


def by_tag(tags: Mapping[int, int]) -> Laying:
    """Tensors of three to five axes lie as a format tag says."""
    return lambda shape: layout_of(tagged(FLOAT32, shape, tags[len(shape)])) if len(shape) in tags else None


def turned(shape: Shape) -> Layout | None:
    """Matrices and larger tensors lie with their first axis innermost."""
    if len(shape) < 2:
        return None
    strides = [int(np.prod(shape[:axis])) for axis in range(len(shape))]
    return layout_of(strided(FLOAT32, shape, strides))


@dataclass(frozen=True, slots=True)
class Variant:
    """How a node is met: the layout of its inputs, what is known beforehand, and the mode of the context."""

    name: str
    laying: Laying | None = None
    knows_weights: bool = False
    training: bool = False
    laid: Callable[[int], bool] = lambda index: True  # which inputs the layout is for


VARIANTS = (
    Variant("plain"),
    Variant("training", training=True),
    Variant("known weights", knows_weights=True),
    Variant("channels last", by_tag(CHANNELS_LAST)),
    Variant("blocks of 16", by_tag(BLOCKS_OF_16)),
    Variant("blocks of 8 in training", by_tag(BLOCKS_OF_8), training=True),
    Variant("turned", turned),
    Variant("first input in blocks", by_tag(BLOCKS_OF_8), laid=lambda index: index == 0),
    Variant("other inputs turned", turned, laid=lambda index: index > 0),
)


class LayingBackend(HostBackend):
    """Executes Identity by bringing its input into a layout, so that the node behind it meets that layout."""

    name = "laying"

    def __init__(self, laying: Laying | None) -> None:
        self._laying = laying

    def wants(self, variable: Variable) -> bool:
        """Whether a variable is to lie otherwise than in row-major order."""
        layout = self._layout(variable)
        return layout is not None and not layout.is_plain

    def _layout(self, variable: Variable) -> Layout | None:
        if self._laying is None or variable.dtype != FLOAT32 or not variable.size:
            return None
        return self._laying(variable.shape)

    def supports(self, node: Node) -> bool:
        return node.layer == "laying"

    def lower(self, node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
        target = self._layout(node.y)
        assert target is not None
        return ONEDNN.reorder(plain(node.x.dtype, node.x.shape), target, resources)

    def reorder(self, source: Layout, target: Layout, resources: Resources) -> Kernel:
        return ONEDNN.reorder(source, target, resources)

    def enter(self, resources: Resources) -> None:
        """Nothing belongs to the thread."""


class Rig:
    """A program under construction and the arrays that feed it; ``run`` executes it on the backend ``cpu``.

    ``others`` are backends that may take nodes over from it.
    """

    def __init__(self, variant: Variant, others: Sequence[Backend] = ()) -> None:
        self.program = Program(layer="parity")
        self.variant, self._others = variant, others
        self._laying = LayingBackend(variant.laying)
        self._feeds: dict[str, np.ndarray] = {}

    def given(self, array: np.ndarray, *, is_known: bool = False) -> Variable:
        """A constant of the program, or an input in the variant's layout."""
        name = f"x{len(self._feeds)}"
        self._feeds[name] = array
        made = Variable(name, array.dtype, array.shape, constant=array if is_known else None)
        if is_known:
            return made
        self.program.inputs[name] = made
        if not (self._laying.wants(made) and self.variant.laid(len(self._feeds) - 1)):
            return made
        return self.program.append("Identity", [made], {}, version=16, layer="laying").y

    def run(self, outputs: Mapping[str, Variable]) -> dict[str, np.ndarray]:
        """The values of ``outputs`` by the backends, which must have every kernel."""
        self.program.outputs.update(outputs)
        place(self.program, [self._laying, ONEDNN, *self._others])
        plan = Plan(
            self.program, [ONEDNN, self._laying, *self._others], Resources(1, training=self.variant.training), packed={}
        )
        for block in plan.blocks.values():
            block.fill(0xFF)  # NaN everywhere: no kernel may count on what it has not written
        for name, array in plan.input_arrays.items():
            np.copyto(array, self._feeds[name])
        plan.run("forward")
        return {name: array.copy() for name, array in plan.output_arrays.items()}


def node_of(case: Case, batch: int, variant: Variant) -> tuple[Rig, Node]:
    """The case as a program of one node."""
    rig = Rig(variant)
    operands: list[Variable | None] = []
    for index, (given, array) in enumerate(zip(case.inputs, case.arrays(batch), strict=True)):
        if given is None or array is None:
            operands.append(None)
        else:
            operands.append(rig.given(array, is_known=given.is_constant or (variant.knows_weights and index > 0)))
    attributes = case.bound_attributes(batch)
    node = rig.program.append(
        case.operator, operands, attributes, domain=case.domain, version=case.version, outputs=case.outputs
    )
    return rig, node


@lru_cache(maxsize=2)  # for all variants
def reference_of(case: Case, batch: int) -> tuple[np.ndarray, ...]:
    """What the numpy reference makes of the case."""
    attributes = case.bound_attributes(batch)
    return apply(case.domain, case.operator, case.version, case.arrays(batch), attributes)[: case.outputs]


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5, what: str = "") -> None:
    """Equal up to ``tolerance`` of each value and of the largest one; integers exactly."""
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), what
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=what)
        return
    finite = expected[np.isfinite(expected)]
    scale = float(np.abs(finite).max(initial=0.0))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(scale, 1e-6), err_msg=what)
