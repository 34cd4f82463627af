"""The order of the passes between binding and placement; of programs that learn, ``training_pipeline`` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from toolkit.compiler.passes.activation_spellings import recognise_activations
from toolkit.compiler.passes.batch_normalization import fold_batch_normalization
from toolkit.compiler.passes.canonical import canonicalise, pool_means
from toolkit.compiler.passes.common_subexpressions import share_common_subexpressions
from toolkit.compiler.passes.constants import fold_constants
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.einsum_products import use_products
from toolkit.compiler.passes.expansion import expand_composed
from toolkit.compiler.passes.function_spellings import recognise_functions
from toolkit.compiler.passes.fusion import fuse
from toolkit.compiler.passes.normalization_spellings import recognise_layer_normalization
from toolkit.compiler.passes.operand_views import absorb_views
from toolkit.compiler.passes.precision import Precision, use_precision
from toolkit.compiler.passes.quantised.arithmetic import use_float_arithmetic
from toolkit.compiler.passes.quantised.bytes import Multiplying, hold_bytes
from toolkit.compiler.passes.recurrent_layers import use_recurrent_layers
from toolkit.compiler.passes.rejoined_pieces import rejoin_pieces
from toolkit.compiler.passes.softmax_spellings import recognise_softmax
from toolkit.compiler.passes.sunk_views import sink_views
from toolkit.compiler.passes.table_rows import use_tables
from toolkit.compiler.passes.widening import Computing, widen
from toolkit.compiler.program import Program


def optimise_for_inference(program: Program, *, literal: bool = True) -> Program:
    """Everything that makes inference faster; parameters count as fixed between two writes.

    ``literal`` takes a file that was exported in training mode at its word, as other engines do; an evaluation does
    not.
    """
    expand_composed(program)
    use_float_arithmetic(program)
    use_products(program)
    canonicalise(program, training=False, literal=literal)
    use_recurrent_layers(program, training=False)
    rejoin_pieces(program)
    fold_constants(program)
    share_common_subexpressions(program)
    recognise_spellings(program)
    use_tables(program)
    sink_views(program)
    fold_batch_normalization(program)
    absorb_views(program)
    fuse(program, training=False)
    remove_dead_code(program)
    return program


def recognise_spellings(program: Program) -> None:
    """Operators that exporters spell out become one node again."""
    recognise_functions(program)
    recognise_activations(program)
    recognise_layer_normalization(program)
    recognise_softmax(program)
    pool_means(program)
    remove_dead_code(program)


class Ability(Computing, Multiplying, Protocol):
    """What the last passes have to know of a backend."""


def compute_in(program: Program, precision: Precision | None, backends: Sequence[Ability]) -> Program:
    """The last thing before placement: let nodes compute on bytes, or in a precision, as far as the backends can."""
    hold_bytes(program, backends)
    if precision is not None:
        use_precision(program, precision)
        widen(program, backends)
    return program
