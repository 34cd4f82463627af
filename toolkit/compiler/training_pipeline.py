"""The order of the passes where a program is to learn: before it is differentiated, and after."""

from __future__ import annotations

from toolkit.compiler.passes.batch_statistics import choose_batch_statistics
from toolkit.compiler.passes.canonical import canonicalise
from toolkit.compiler.passes.common_subexpressions import share_common_subexpressions
from toolkit.compiler.passes.constants import fold_constants
from toolkit.compiler.passes.dead_code import remove_dead_code
from toolkit.compiler.passes.einsum_products import use_products
from toolkit.compiler.passes.expansion import expand_composed
from toolkit.compiler.passes.fusion import fuse
from toolkit.compiler.passes.operand_views import absorb_views
from toolkit.compiler.passes.recurrent_layers import use_recurrent_layers
from toolkit.compiler.passes.rejoined_pieces import rejoin_pieces
from toolkit.compiler.passes.straight_through import use_straight_through
from toolkit.compiler.passes.training_forms import use_training_forms
from toolkit.compiler.pipeline import recognise_spellings
from toolkit.compiler.program import Program
from toolkit.compiler.training_choices import TrainingChoices


def prepare_for_training(program: Program, choices: TrainingChoices | None = None) -> Program:
    """What may happen before differentiation: canonical forms, training forms and the fusions that keep gradients."""
    chosen = choices or TrainingChoices()
    choose_batch_statistics(program, chosen.batch_statistics, chosen.layers)
    expand_composed(program)
    use_products(program)
    canonicalise(program, training=True)
    use_recurrent_layers(program, training=True)
    rejoin_pieces(program)
    fold_constants(program)
    share_common_subexpressions(program)
    use_straight_through(program, chosen.straight_through)
    recognise_spellings(program)
    use_training_forms(program)
    absorb_views(program)
    fuse(program, training=True)
    remove_dead_code(program)
    return program


def tidy_after_differentiation(program: Program) -> Program:
    """What the appended backward nodes leave to clean up."""
    fold_constants(program)
    share_common_subexpressions(program)
    absorb_views(program)
    remove_dead_code(program)
    return program
