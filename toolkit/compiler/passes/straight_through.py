"""Straight-through estimators: rounding that a training asked for gets the gradient of the identity.

- Round, Floor, Ceil and Sign become StraightThrough.
- QuantizeLinear becomes QuantizeStraightThrough, whose integers are floats; what merely moves or compares integers
  (Reshape, Concat, MaxPool, ...) is repeated on these floats, and the DequantizeLinear at the end becomes
  DequantizeStraightThrough. Products of integers are taken apart before (``quantised.products``); other readers keep
  the integers and pass no gradient.
- DynamicQuantizeLinear becomes DynamicRange, which passes no gradient, and QuantizeLinear.

Step sizes learn (Esser et al. 2020) where the pair shares an initializer that is not frozen; the importer freezes them.
A DequantizeLinear of integer weights stays as it is: such weights are frozen, its scale is differentiated as ever.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.compiler.passes.common_subexpressions import identity
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.quantised.products import unfold_quantised_products
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.rewrite import Replacement, rewrite
from toolkit.errors import InputError
from toolkit.graph.parameter import is_trainable_dtype
from toolkit.operators import wire
from toolkit.operators.derivative import cast
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.quantization import type_of_quotients
from toolkit.operators.standard.straight_through import STEPS, limits

PAIR = frozenset(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"))
USUAL = PAIR | {"Round"}
OFFERED = PAIR | STEPS.keys()
DOMAINS = ("", "com.microsoft")
FIRST_VERSION, FIRST_WITH_PRECISION = 10, 23  # of QuantizeLinear
EVERY = None
MOVED: dict[str, Sequence[int] | None] = {  # what is done to integers as to floats, and to which inputs
    **dict.fromkeys(("Concat", "Max", "Min"), EVERY),
    **dict.fromkeys(("Clip",), (0, 1, 2)),
    **dict.fromkeys(("Pad",), (0, 2)),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "Expand", "Tile", "Gather", "GatherElements", "GatherND"), (0,)),
    **dict.fromkeys(("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"), (0,)),
    **dict.fromkeys(("MaxPool", "Relu", "Slice", "Split"), (0,)),
}


@dataclass(frozen=True)
class StraightThrough:
    """Which rounding operators pass gradients: of QuantizeLinear with its kin, Round, Floor, Ceil and Sign."""

    operators: frozenset[str] = USUAL

    @property
    def quantises(self) -> bool:
        return bool(self.operators & PAIR)


def straight_through(asked: bool | str | Collection[str] | None) -> StraightThrough | None:
    """What a user asked for: nothing, the usual operators (``True``), or those named. Raises ``InputError``."""
    if asked is None or isinstance(asked, bool):
        return StraightThrough() if asked else None
    names = frozenset((asked,) if isinstance(asked, str) else asked)
    if not names <= OFFERED:
        raise InputError(
            f"straight_through names {sorted(names - OFFERED)}, and has estimators for {sorted(OFFERED)}. Name some of "
            "these, or say True."
        )
    return StraightThrough(names) if names else None


@dataclass
class _Carried:
    """Integers as floats, and the nodes that quantised them."""

    floats: Variable
    quantised: list[Node] = field(default_factory=list)


def use_straight_through(program: Program, asked: StraightThrough | None) -> None:
    """Apply the rules above to the operators asked for."""
    if asked is None:
        return
    wishes = asked
    if wishes.quantises:
        unfold_quantised_products(program)
    carried: dict[Variable, _Carried] = {}
    fed = _depend_on(program, program.inputs.values())

    def rule(node: Node) -> Replacement | None:
        if node.op_type in STEPS and not node.domain and node.op_type in wishes.operators:
            made = program.append("StraightThrough", [node.x], {"operator": node.op_type}, domain=TOOLKIT_DOMAIN)
            return made.outputs
        if not wishes.quantises or node.domain not in DOMAINS:
            return None
        if node.op_type == "DynamicQuantizeLinear":
            found = program.append("DynamicRange", [node.x], {}, domain=TOOLKIT_DOMAIN, outputs=2).outputs
            node = program.append("QuantizeLinear", [node.x, *found], {}, version=FIRST_VERSION)
            _quantize(program, node, carried)
            return [node.y, *found]
        if node.op_type == "QuantizeLinear" and is_trainable_dtype(node.x.dtype):
            _quantize(program, node, carried)
        elif node.op_type == "DequantizeLinear" and node.x in carried:
            return [_dequantize(program, node, carried[node.x], fed)]
        elif node.op_type in MOVED and not node.domain:
            _move(program, node, carried)
        return None

    rewrite(program, rule)
    remove_dead_code(program)


def _quantize(program: Program, node: Node, carried: dict[Variable, _Carried]) -> None:
    scale = node.inputs[1]
    assert scale is not None
    attributes = _given(node, "axis", "block_size", "saturate")
    if node.version >= FIRST_WITH_PRECISION:
        found = type_of_quotients(scale.dtype, node.attributes.get("precision", 0))
        attributes["quotient"] = wire.element_type(found)
    made = program.append(
        "QuantizeStraightThrough",
        node.inputs,
        {**attributes, "to": wire.element_type(node.y.dtype), "scale_slope": 0.0},
        domain=TOOLKIT_DOMAIN,
        outputs=2,
    )
    carried[node.y] = _Carried(made.y, [made])


def _dequantize(program: Program, node: Node, carried: _Carried, fed: Collection[Variable]) -> Variable:
    attributes = _given(node, "axis", "block_size")
    made = program.append(
        "DequantizeStraightThrough",
        [carried.floats, *node.inputs[1:]],
        {**attributes, "to": wire.element_type(node.y.dtype), "scale_slope": 0.0},
        domain=TOOLKIT_DOMAIN,
    )
    scale = node.inputs[1]
    assert scale is not None
    is_shared = all(identity(item.inputs[1]) == identity(scale) for item in carried.quantised)
    if scale.parameter is not None and is_shared:
        slope = min(_slope(item, fed) for item in carried.quantised)
        for item in (made, *carried.quantised):
            item.attributes["scale_slope"] = slope
    return made.y


def _given(node: Node, *names: str) -> dict[str, Any]:
    """The attributes of those names that the node has."""
    return {name: node.attributes[name] for name in names if name in node.attributes}


def _slope(node: Node, fed: Collection[Variable]) -> float:
    """1 / sqrt(numbers that share a step size, those of one item, times the largest integer), as Esser et al. say."""
    scale = node.inputs[1]
    assert scale is not None
    sharing = node.x.size / max(scale.size, 1)
    if node.x in fed and node.x.shape:
        sharing /= max(node.x.shape[0], 1)
    return 1.0 / math.sqrt(max(sharing, 1.0) * limits(wire.element_dtype(node.attributes["to"]))[1])


def _move(program: Program, node: Node, carried: dict[Variable, _Carried]) -> None:
    """Repeat a node on floats, where its integers are carried; what it computes of integers stays for other readers."""
    chosen = MOVED[node.op_type]
    places = range(len(node.inputs)) if chosen is EVERY else [place for place in chosen if place < len(node.inputs)]
    values = [node.inputs[place] for place in places]
    known = [carried[item] for item in values if item is not None and item in carried]
    if not known:
        return
    dtype, inputs = known[0].floats.dtype, list(node.inputs)
    for place, item in zip(places, values, strict=True):
        if item is not None:
            inputs[place] = carried[item].floats if item in carried else _as_floats(program, item, dtype)
    names = ["" if item is None else program.fresh(item.name) for item in node.outputs]
    made = program.append(node.op_type, inputs, node.attributes, version=node.version, outputs=names)
    sources = [source for item in known for source in item.quantised]
    for old, new in zip(node.outputs, made.outputs, strict=True):
        if old is not None and new is not None and new.dtype == dtype:
            carried[old] = _Carried(new, sources)


def _as_floats(program: Program, item: Variable, dtype: np.dtype) -> Variable:
    found: Variable = cast(program.expression(item), dtype).variable
    return found


def _depend_on(program: Program, sources: Iterable[Variable]) -> set[Variable]:
    found = set(sources)
    for node in program.nodes:
        if any(item in found for item in node.inputs if item is not None):
            found.update(item for item in node.outputs if item is not None)
    return found
