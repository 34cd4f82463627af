"""Connectionist temporal classification and its gradient: the lattice of each row walked by a block of threads.

cuDNN's ``cudnnCTCLoss`` is passed over. It takes probabilities that sum to 1 where the operator takes any logarithms,
wants the blank to be class 0 and at most 256 symbols whose lists follow each other without gaps, and says nothing of
targets that no path spells. A symbol that is no class cannot raise on the device: it makes the loss NaN, which training
notices.
"""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.backends.cuda.launch import Argument, Input, Launch, Output, Scratch, SourceKernel
from toolkit.backends.cuda.layouts import on_device
from toolkit.backends.cuda.registry import kernel
from toolkit.backends.cuda.source import FLOAT_TYPES, INTEGER_TYPES, Function, type_name
from toolkit.backends.protocol import Kernel, Layout, Resources
from toolkit.compiler.program import Node, Variable
from toolkit.operators.expression import TOOLKIT_DOMAIN

HEADERS = ("temporal_classification",)
WARP, MOST_LANES = 32, 256
CHANCE_BYTES = 8
ALIGNMENT = 256


def _given(node: Node) -> list[Variable]:
    """Log-probabilities, targets, and the two lengths."""
    first = 0 if node.op_type == "CTCLoss" else 1
    return [item for item in node.inputs[first : first + 4] if item is not None]


def _accepts(node: Node) -> bool:
    given = _given(node)
    if len(given) != 4:
        return False
    scores, targets, steps, symbols = given
    known = scores.dtype in FLOAT_TYPES and scores.size > 0 and steps.dtype == symbols.dtype
    return known and {targets.dtype, steps.dtype} <= INTEGER_TYPES


def _lanes(targets: Variable) -> int:
    """Threads of a block: one for each place of a target where there are so many, in whole warps."""
    places = 2 * targets.shape[1] + 1
    return min(-(-places // WARP) * WARP, MOST_LANES)


def _sizes(node: Node) -> str:
    """The sizes as the kernels take them."""
    scores, targets = _given(node)[:2]
    _, time, classes = scores.shape
    return f"{{{time}ull, {classes}ull, {targets.shape[1]}ull, {int(node.attributes.get('blank', 0))}ll}}"


def _parameters(node: Node) -> list[str]:
    scores, targets, steps, symbols = (type_name(item.dtype) for item in _given(node))
    return [
        f"const {scores}* scores",
        f"const {targets}* targets",
        f"const {steps}* steps",
        f"const {symbols}* symbols",
    ]


def _launch(name: str, node: Node, call: str, blocks: int, extra: Sequence[tuple[str, Argument]]) -> Launch:
    """One block of ``call`` for each row, or each step of a row; ``extra`` stand behind the operator's own tensors."""
    first = len(node.inputs) - 4
    lanes = _lanes(_given(node)[1])
    parameters = (*_parameters(node), *(text for text, _ in extra))
    arguments = (*(Input(first + index) for index in range(4)), *(item for _, item in extra))
    function = Function(name, parameters, f"    classification::{call};".replace("LANES", str(lanes)), HEADERS)
    return Launch(function, (blocks, 1, 1), (lanes, 1, 1), arguments)


def _laid(items: Sequence[Variable | None]) -> list[Layout | None]:
    return [None if item is None else on_device(item.dtype, item.shape) for item in items]


@kernel(TOOLKIT_DOMAIN, "CTCLoss", accepts=_accepts)
def lower_loss(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The chances of two steps are kept, in scratch memory."""
    scores, targets = _given(node)[:2]
    batch, room = scores.shape[0], CHANCE_BYTES * 2 * scores.shape[0] * (2 * targets.shape[1] + 1)
    is_zero = "true" if node.attributes.get("zero_infinity", 0) else "false"
    call = f"loss<LANES>(scores, targets, steps, symbols, y, room, {_sizes(node)}, {is_zero})"
    extra: list[tuple[str, Argument]] = [(f"{type_name(scores.dtype)}* y", Output(0)), ("float64* room", Scratch())]
    launch = _launch("CTCLoss", node, call, batch, extra)
    return SourceKernel("lattice", [launch], _laid(node.inputs), _laid(node.outputs), resources, workspace=room)


@kernel(TOOLKIT_DOMAIN, "CTCLossGradient", accepts=_accepts)
def lower_gradient(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """The chances of all steps are kept, which become how often each place is visited; then classes gather theirs."""
    scores, targets = _given(node)[:2]
    batch, time, _ = scores.shape
    kind, line = type_name(scores.dtype), CHANCE_BYTES * (2 * targets.shape[1] + 1)
    visits, ways = Scratch(), Scratch(-(-batch * time * line // ALIGNMENT) * ALIGNMENT)
    call = f"visit<LANES>(scores, targets, steps, symbols, visits, ways, {_sizes(node)})"
    walk = _launch("CTCVisits", node, call, batch, [("float64* visits", visits), ("float64* ways", ways)])
    call = f"gradient<LANES>(g, scores, targets, steps, symbols, visits, dx, {_sizes(node)})"
    extra: list[tuple[str, Argument]] = [("const float64* visits", visits)]
    extra += [(f"const {kind}* g", Input(0)), (f"{kind}* dx", Output(0))]
    gather = _launch("CTCLossGradient", node, call, batch * time, extra)
    room = ways.offset + 2 * batch * line
    return SourceKernel("lattice", [walk, gather], _laid(node.inputs), _laid(node.outputs), resources, workspace=room)
