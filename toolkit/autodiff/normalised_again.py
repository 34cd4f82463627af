"""What a step computes again of its own accord: the results of normalisation by the batch, between two convolutions.

The backward pass reads what went in, for the gradient of the normalisation itself, and what came out, for the next
weights. One sweep makes the one of the other just before that, so it is not kept. This is done where both hold:

- The forward pass keeps a gibibyte or more. Steps that keep less would become slower, if by little, for memory that
  nobody lacks.
- The convolution that reads the repetition takes at least twice as long. Depthwise ones do not.

Other sweeps are left alone: what backends make of attention and of activations they recognise by how it is read.
"""

from __future__ import annotations

from toolkit.autodiff.recomputation import LAYER_ROLES, ForwardPass, is_costly
from toolkit.autodiff.rematerialisation_choices import Dropped
from toolkit.compiler.program import UPDATE_ROLES, Node, Variable

LEAST_KEPT = 1 << 30  # bytes
WORTH = 2.0  # times what a sweep moves that its readers cost at least


def normalised_again(forward: ForwardPass) -> Dropped:
    """What the rules above drop."""
    if not forward.on_host or sum(item.nbytes for item in forward.saved) < LEAST_KEPT:
        return frozenset()
    readers: dict[Variable, list[Node]] = {}
    for node in forward.program.nodes:
        for item in node.inputs if node.role not in (*LAYER_ROLES, *UPDATE_ROLES) else ():
            if item is not None and item in forward.saved:
                readers.setdefault(item, []).append(node)
    return frozenset(item for item in forward.saved if _is_worth_it(forward, item, readers[item]))


def _is_worth_it(forward: ForwardPass, item: Variable, readers: list[Node]) -> bool:
    node = forward.producer[item]
    if item not in forward.droppable or not forward.keeps_statistics(node, {item}) or node.x not in forward.saved:
        return False
    return all(map(is_costly, readers)) and sum(map(forward.cost, readers)) >= WORTH * (node.x.size + item.size)
