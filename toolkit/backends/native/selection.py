"""Which nodes the backend takes: small ones, where the way to a library and a second thread cost more than the work.

Taken are nodes of programs that only compute forward; of those that learn the updates, passes over large tensors, and
recurrent layers with their gradients; in both large convolutions and products where fewer multiplications do. What lies
in a library's own layout (behind convolutions) is left to the library, for every change of layout is a copy, unless a
kernel does not mind. Where the other choice is numpy, neither that nor size matters. Large products by one matrix are
taken in both, those of few rows in training, and small stacks of products in inference, each on processors for which
ours are faster.
"""

from __future__ import annotations

import numpy as np

from toolkit.backends.native.batched.product import is_batched_product, stacks_win
from toolkit.backends.native.elementwise.region import is_uniform_work
from toolkit.backends.native.kernel import NAME
from toolkit.backends.native.movement.narrow_filters import is_read_by, narrows_filters
from toolkit.backends.native.products.large_product import is_large_product, wins
from toolkit.backends.native.products.narrow_product import is_narrow_product
from toolkit.backends.native.recurrent.sizes import MANY, Sizes
from toolkit.backends.native.reductions.columns import reduces_leading_axes
from toolkit.backends.native.registry import KERNELS
from toolkit.compiler.known import is_static
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.program import Node, Program, Variable
from toolkit.compiler.work import PRODUCTS, products
from toolkit.errors import malformed, naming
from toolkit.operators.expression import TOOLKIT_DOMAIN
from toolkit.operators.standard.fused_attention import ATTENTION, ATTENTION_GRADIENT

MOST_ELEMENTS = 1 << 18  # of a tensor; what is larger is bound by memory, whoever computes it
MANY_PRODUCTS = 1 << 27  # multiplications of a program, milliseconds, beside which compiling its small nodes is no gain
FOR_EACH_NODE = 1 << 20  # or rather of a node, some ten microseconds: small nodes are most of what has fewer
MOST_OF_ROWS = 1 << 15  # of a tensor that is gone through more than once: twice that keeps two threads busy
LEAST_PRODUCTS = 1 << 22  # multiplications of a layer that learns, from which steps repay half a second of compiling
LIBRARY, SLOW = "cpu", "numpy"
WITH_LIMITS = {  # operators whose kernels say themselves up to which size they win
    *("MatMul", "FusedMatMul", "FusedConv", "Recurrent", "RecurrentGradient"),
    *(ATTENTION, ATTENTION_GRADIENT),
    *("MaxPool", "AveragePool"),
}
CONVOLUTIONS = ("FusedConv", "ConvInputGradient", "ConvWeightGradient")
STATISTICS = (  # exact for images of any size, in any layout
    *("BatchNormalizationTraining", "BatchNormalizationRepeated", "BatchNormalizationGradient"),
)
STRASSEN = "toolkit.backends.native.strassen"
SOONER = ("toolkit.backends.native.winograd", STRASSEN)  # by fewer multiplications
TURNING = "toolkit.backends.native.movement.turning"
RECURRENT = ("Recurrent", "RecurrentGradient")
OF_ROWS = {"Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization"}
OF_TRAINING = {  # operators whose kernels pass over memory once, by all threads
    *("SoftmaxCrossEntropyLoss", "SoftmaxCrossEntropyGradient", "SoftmaxGradient"),
    *("ElementwiseUpdate", "SumOfSquares"),
}
OF_ELEMENTS = {  # as before, in row-major order or, tensors of one shape alone, in the library's layouts
    *("Add", "Sub", "Mul", "Neg", "Sum", "Where", "MaskedScale", "ActivationGradient"),
    *("Cast", "Relu", "LeakyRelu", "Clip", "Gelu", "GeluTanh", "Silu", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish"),
}
IN_ROWS = {  # as before, in row-major order alone
    *("LayerNormalization", "LayerNormalizationGradient", "GatherGradient"),
}
LEAST_ELEMENTS = 1 << 15  # of a tensor in training, from which steps repay compiling
SPATIAL_RANK = 3  # from here on the library chooses layouts for itself


def take_small_nodes(program: Program) -> None:
    """Let the backend have the nodes that it computes sooner than those who have them."""
    are_read_wide = False
    for node in program.nodes:
        if node.backend == LIBRARY and _is_filtered(node):
            node.backend = NAME
            are_read_wide |= _reads_filters_wide(node)
        elif (node.backend == LIBRARY and _is_of_statistics(node)) or _draws(node):
            node.backend = NAME
    if are_read_wide:
        remove_dead_code(program)
    if any(node.role != "forward" for node in program.nodes):
        _take_of_training(program)
        return
    is_large = sum(map(products, program.nodes)) > max(MANY_PRODUCTS, FOR_EACH_NODE * len(program.nodes))
    elsewhere: set[Variable] = set()  # what lies as the library likes it
    for node in program.nodes:
        if node.backend == NAME:
            if node.op_type in (*CONVOLUTIONS, *STATISTICS):
                elsewhere.add(node.y)  # in a layout of the library, whose convolutions are beside it
            continue
        is_better_off = _is_better_off(node) and not (is_large and _is_brief(node))
        if _is_free(node, elsewhere) and (is_better_off or _multiplies_less(node)):
            node.backend = NAME
        elif node.backend == LIBRARY and _keeps_layout(node, elsewhere):
            elsewhere.update(item for item in node.outputs if item is not None)


def _is_free(node: Node, elsewhere: set[Variable]) -> bool:
    """Whether the node works on rows, whoever has it; so does a library that joins rows with as much of its own."""
    laid = sum(item.size for item in node.inputs if item is not None and item in elsewhere)
    return node.backend == SLOW or not laid or (node.op_type == "Concat" and 2 * laid <= node.y.size)


def _draws(node: Node) -> bool:
    """Whether the node drops at random: whatever lies around it, for a pass that is repeated has to draw the same."""
    return node.op_type == "Dropout" and not node.domain and _is_better_off(node)


def _take_of_training(program: Program) -> None:
    """Nodes of training that are better off here, and recurrent layers with their gradients."""
    elsewhere: set[Variable] = set()  # what lies as the library likes it
    consumers = program.consumers()
    for node in program.nodes:
        keeps = node.backend in (LIBRARY, NAME) and _keeps_layout(node, elsewhere)
        if node.op_type in RECURRENT and node.domain == TOOLKIT_DOMAIN:
            is_better_off = _learns_sooner(node)
        elif node.op_type in PRODUCTS and (is_narrow_product(node) or _multiplies_less(node)):
            is_better_off = _is_served(node)
        elif node.op_type in OF_TRAINING or (node.op_type in PRODUCTS and _is_large_product(node)):
            is_better_off = _is_better_off(node)
        elif node.op_type == "Cast" and node.x.parameter is not None and len(node.x.shape) >= SPATIAL_RANK:
            is_better_off = narrows_filters(node) and is_read_by(node, consumers.get(node.y, ()))
        else:
            is_better_off = _passes_sooner(node, any(item in elsewhere for item in node.inputs))
        if is_better_off:
            node.backend = NAME
        if keeps:
            elsewhere.update(item for item in node.outputs if item is not None)


def _passes_sooner(node: Node, is_elsewhere: bool) -> bool:
    """Whether a pass over large tensors is better off here; ``is_elsewhere``: over some in layouts of the library."""
    is_in_rows = node.op_type in IN_ROWS or (node.op_type == "ReduceSum" and reduces_leading_axes(node))
    is_in_rows = is_in_rows or (node.op_type == "Transpose" and KERNELS.serves(TURNING, node))
    if not (node.op_type in OF_ELEMENTS or is_in_rows) or not _is_served(node):
        return False
    if is_elsewhere and (is_in_rows or not is_uniform_work(node)):
        return False
    if node.backend == SLOW and is_in_rows:
        return True
    is_chosen = node.backend == SLOW and "loss" in node.role  # a loss may be told where to live
    return not is_chosen and max(item.size for item in node.inputs if item is not None) >= LEAST_ELEMENTS


def _learns_sooner(node: Node) -> bool:
    """Gradients follow their layers; a layer of few sequences, or of little work, stays with the library."""
    if node.op_type == "Recurrent" and node.backend == LIBRARY:
        sizes = Sizes.of(node)
        if sizes.batch < MANY or sizes.products < LEAST_PRODUCTS:
            return False
    return _is_better_off(node)


def _is_brief(node: Node) -> bool:
    """Whether the node takes a time that nobody notices in a large program."""
    if _is_large_product(node) or _is_batched_product(node):
        return False
    return node.op_type != "Recurrent" and max(item.size for item in node.outputs if item is not None) <= MOST_ELEMENTS


def _keeps_layout(node: Node, elsewhere: set[Variable]) -> bool:
    """Whether the library may lay the result out as it likes: it makes layouts, or goes on with what has one."""
    if len(node.y.shape) < SPATIAL_RANK:
        return False
    makes_layouts = "Conv" in node.op_type or "Pool" in node.op_type or node.op_type == "BatchNormalization"
    return makes_layouts or any(item in elsewhere for item in node.inputs)


def _is_filtered(node: Node) -> bool:
    """Whether a kernel that multiplies less takes the node: they do where that is the sooner way."""
    return node.op_type in CONVOLUTIONS and any(KERNELS.serves(home, node) for home in SOONER)


def _reads_filters_wide(node: Node) -> bool:
    """Let a convolution read the weight that a Cast would narrow for it: it rounds what it sees of it, once.

    Whether there was such a Cast.
    """
    weight = node.inputs[1]
    made_by = None if weight is None else weight.producer
    if made_by is None or made_by.op_type != "Cast" or made_by.x.dtype != np.float32 or not is_static(made_by.x):
        return False
    node.inputs[1] = made_by.x
    return True


def _is_of_statistics(node: Node) -> bool:
    return node.op_type in STATISTICS and _is_served(node)


def _multiplies_less(node: Node) -> bool:
    """Whether a product of many rows goes by fewer multiplications."""
    is_product = node.backend in (LIBRARY, SLOW) and node.op_type in PRODUCTS
    return is_product and KERNELS.serves(STRASSEN, node)


def _is_large_product(node: Node) -> bool:
    return node.op_type in PRODUCTS and is_large_product(node)


def _is_batched_product(node: Node) -> bool:
    return node.op_type in PRODUCTS and is_batched_product(node)


def _is_served(node: Node) -> bool:
    """Whether there is a kernel for a node that may be taken."""
    if node.backend not in (LIBRARY, SLOW):
        return False
    with naming(lambda why: malformed(f"{node.operator}-{node.version}", node.layer, why)):
        return KERNELS.entry_of(node) is not None


def _is_better_off(node: Node) -> bool:
    if not _is_served(node):
        return False
    if _is_batched_product(node):
        return stacks_win()
    if _is_large_product(node):
        return wins()
    if node.backend == SLOW or node.op_type in (WITH_LIMITS | OF_TRAINING | {"Dropout"}):
        return True
    most = MOST_OF_ROWS if node.op_type in OF_ROWS else MOST_ELEMENTS
    return all(item.size <= most for item in (*node.inputs, *node.outputs) if item is not None)
