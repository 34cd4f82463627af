"""The leaf of every tree from all comparisons at once: few array operations, however deep the trees are.

A comparison that fails rules out the leaves on its true side. Numbered from the true side to the false side, the leaf a
row ends in is the first one that no failed comparison on the way rules out, nor any other: a set of leaves is a word of
64 bits, and the words of a tree's failed comparisons are joined. This is the algorithm QuickScorer (Lucchese et al.,
SIGIR 2015), with arrays in place of its sorted lists. Descending level by level costs less where rows are many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOST_LEAVES = 64  # of a tree: the bits of a word
ALL = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True)
class Masks:
    """What each comparison leaves possible, its nodes tree by tree; a tree that is a leaf has it for a comparison.

    - ``nodes`` (comparisons,): the nodes' numbers in that order, and the features that they compare.
    - ``starts`` (trees,): where each tree begins.
    - ``possible`` (comparisons,): the leaves that are left when the comparison fails, as bits.
    - ``leaf``: the nodes' numbers of all leaves, tree by tree, from the true side; ``offsets`` (trees,): the place
      before the first leaf of each tree.
    """

    nodes: np.ndarray
    features: np.ndarray
    starts: np.ndarray
    possible: np.ndarray
    leaf: np.ndarray
    offsets: np.ndarray

    def leaves(self, holds: np.ndarray) -> np.ndarray:
        """The nodes' numbers (trees, rows) of the leaves, from the outcomes (rows, comparisons) at ``nodes``."""
        words = np.where(holds, ALL, self.possible)
        left = np.bitwise_and.reduceat(words, self.starts, axis=1)
        np.bitwise_and(left, np.negative(left), out=left)
        _, place = np.frexp(left.astype(np.float64))
        return np.asarray(self.leaf.take(place + self.offsets).T)


def masks_of(feature: np.ndarray, children: np.ndarray, roots: np.ndarray, inner: int) -> Masks | None:
    """The masks of trees whose nodes, ``children[2 * node + 1]`` where its comparison holds, are below ``inner``.

    ``None`` where a tree has more leaves than ``MOST_LEAVES``, and where nodes are shared.
    """
    nodes: list[int] = []
    possible: list[int] = []
    starts: list[int] = []
    leaves: list[int] = []
    offsets: list[int] = []
    for root in roots.tolist():
        starts.append(len(nodes))
        offsets.append(len(leaves) - 1)
        found = _walked(children, root, inner) if root < inner else ([root], [int(ALL)], [root])
        if found is None:
            return None
        nodes += found[0]
        possible += found[1]
        leaves += found[2]
    if not nodes or len(set(nodes)) < len(nodes) or len(set(leaves)) < len(leaves):
        return None
    features = np.concatenate([feature, [0]]).take(np.minimum(nodes, inner))
    places = [np.array(item) for item in (starts, leaves, offsets)]
    return Masks(np.array(nodes), features, places[0], np.array(possible, np.uint64), *places[1:])


def _walked(children: np.ndarray, root: int, inner: int) -> tuple[list[int], list[int], list[int]] | None:
    """Nodes, what each leaves possible, and leaves of one tree; ``None`` where it has too many.

    Depth first, true side before false side: when a node's false side begins, the leaves counted since the node was
    reached are those of its true side.
    """
    nodes: list[int] = []
    possible: list[int] = []
    leaves: list[int] = []
    waiting = [(root, -1)]  # a node, and the node whose false side it is
    first: list[int] = []
    while waiting:
        node, failed = waiting.pop()
        if failed >= 0:
            true_side = (1 << len(leaves)) - (1 << first[failed])
            possible[failed] = int(ALL) & ~true_side
        if node >= inner:
            leaves.append(node)
            if len(leaves) > MOST_LEAVES:
                return None
            continue
        if len(nodes) >= MOST_LEAVES:
            return None
        waiting += [(int(children[2 * node]), len(nodes)), (int(children[2 * node + 1]), -1)]
        nodes.append(node)
        possible.append(int(ALL))
        first.append(len(leaves))
    return nodes, possible, leaves
