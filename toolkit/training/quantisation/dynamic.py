"""Dynamic quantisation: products of bytes whose activations are quantised by the range that each run meets.

No data is needed, and nothing is lost where ranges differ much from item to item; each run pays for finding them.

MatMul and Gemm with a weight become DynamicQuantizeLinear, MatMulInteger, Cast and Mul, and Add for a bias.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.errors import GraphError
from toolkit.graph.insertion import Insertion, Names, opset_of, position_of
from toolkit.graph.layer import Leaf
from toolkit.graph.network import Network
from toolkit.graph.surgery import data_values, prune
from toolkit.operators import wire
from toolkit.operators.standard.quantization import quantize
from toolkit.training.adapters.adapter import registry_of
from toolkit.training.quantisation.calibration import detached, wanted_layers
from toolkit.training.quantisation.folding import compute_weights
from toolkit.training.quantisation.integers import KNOWN, along, largest_weight, weight_scale

OPERATORS = ("Gemm", "MatMul")
LEAST_OPSET = 11  # of DynamicQuantizeLinear


def quantise_dynamically(
    network: Network,
    *patterns: str,
    skip: Sequence[str] = (),
    per_channel: bool = True,
    reduce_range: bool = True,
) -> Network:
    """``network`` with products of bytes in place of MatMul and Gemm with a weight, as a new network.

    ``patterns`` name layers, all by default, ``skip`` what to leave alone; the other options are those of ``quantise``.
    Raises ``GraphError`` when there is no such layer, or the opset is too old.
    """
    if opset_of(network) < LEAST_OPSET:
        raise GraphError(
            f"quantise_dynamically needs opset {LEAST_OPSET}, the network is written in opset {opset_of(network)}. "
            "Export the model again in a newer opset, or use quantise."
        )
    with registry_of(network).without():
        made = detached(network)
    compute_weights(made)
    graph = made.graph
    data, names, before = data_values(graph), Names(graph), list(graph.leaves)
    chosen = [leaf for leaf in wanted_layers(made, patterns, skip) if _fits(made, leaf, data)]
    if not chosen:
        raise GraphError(
            f"Nothing is there to quantise: none of the layers is one of {', '.join(OPERATORS)} with a weight of "
            "32-bit floats behind data."
        )
    grids: dict[str, list[str]] = {}
    for leaf in chosen:
        _replace(made, leaf, names, grids, per_channel, reduce_range)
    prune(graph, before)
    made.revision += 1
    return made


def _fits(network: Network, leaf: Leaf, data: set[str]) -> bool:
    if leaf.op_type not in OPERATORS or leaf.domain or leaf.inputs[0] not in data:
        return False
    usual = all(leaf.attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
    weight = network.graph.parameters.get(leaf.inputs[1])
    is_matrix = weight is not None and weight.dtype == np.float32 and len(weight.shape) == 2
    return usual and is_matrix and not leaf.attributes.get("transA", 0)


def _replace(
    network: Network, leaf: Leaf, names: Names, grids: dict[str, list[str]], per_channel: bool, reduce_range: bool
) -> None:
    """``grids`` are the outputs of DynamicQuantizeLinear by what it reads: layers that read one value share them."""
    graph = network.graph
    insertion = Insertion(network, leaf.path, names)
    x, y, integers = leaf.inputs[0], leaf.outputs[0], KNOWN["int8"]
    if x not in grids:
        scale_name, zero_name = (names.fresh(f"{insertion.scope}/{name}") for name in ("x_scale", "x_zero_point"))
        grids[x] = [
            insertion.leaf("DynamicQuantizeLinear", [x], outputs=[scale_name, zero_name]),
            scale_name,
            zero_name,
        ]
    numbers, x_scale, x_zero = grids[x]
    weight = graph.parameters[leaf.inputs[1]].array
    weight = weight.T if leaf.attributes.get("transB", 0) else weight
    axis = 1 if per_channel else None
    scale = weight_scale(weight, axis, largest_weight(integers, reduce_range))
    held = insertion.parameter(
        "quantised", quantize(weight, along(scale, 2, axis), None, integers.dtype), requires_grad=False
    )
    step = insertion.parameter("scale", scale, requires_grad=False, role=f"the step size of {leaf.inputs[1]!r}")
    sums = insertion.leaf("MatMulInteger", [numbers, held, x_zero])
    floats = insertion.leaf("Cast", [sums], to=wire.element_type(np.dtype(np.float32)))
    factor = insertion.leaf("Mul", [x_scale, step])
    bias = leaf.inputs[2] if len(leaf.inputs) > 2 else ""
    product = insertion.leaf("Mul", [floats, factor], output="" if bias else y)
    if bias:
        insertion.leaf("Add", [product, bias], output=y)
    position = position_of(graph, leaf)
    insertion.place(position)
    graph.leaves = [item for item in graph.leaves if item is not leaf]
    leaf.outputs = []
