"""Surgery: edits of a network's structure that leave everything else as the file has it.

Heads, dropout, un-folded BatchNormalization and tied weights are edited in place; ``extract``, ``connect`` and
``side_by_side`` make networks of networks. Freezing is a matter of selections: ``network.select("encoder").freeze()``,
``network.select("*").last(2).unfreeze()``, and ``GradualUnfreezing`` for ``Trainer.fit``.
"""

from toolkit.graph.class_names import class_names, name_classes
from toolkit.training.head import append_head, replace_head
from toolkit.training.surgery.composition import connect, side_by_side
from toolkit.training.surgery.dropout import insert_dropout
from toolkit.training.surgery.extraction import extract
from toolkit.training.surgery.tying import tie
from toolkit.training.surgery.unfolding import unfold_batch_normalization
from toolkit.training.unfreezing import GradualUnfreezing

__all__ = [
    "GradualUnfreezing",
    "append_head",
    "class_names",
    "connect",
    "extract",
    "insert_dropout",
    "name_classes",
    "replace_head",
    "side_by_side",
    "tie",
    "unfold_batch_normalization",
]
