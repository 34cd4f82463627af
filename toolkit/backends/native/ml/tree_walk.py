"""How a row walks down trees, a few side by side: each step waits for memory, and those of other trees meanwhile go on.

A node is a record of words of 32 bits: threshold, feature, and where a comparison leads that is false or true. Leaves
lead to themselves, so that all trees of a group take as many steps as the deepest of them, without a question.
"""

from __future__ import annotations

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import INDEX, Number
from toolkit.operators.ml.forest import EQ, Forest

FLOAT64, INT32 = np.dtype(np.float64), np.dtype(np.int32)
AT_ONCE = 8  # trees: enough for what memory and comparisons take
FLAGS = 2  # bits beside the feature, where nodes need them
EQUALS, MISSING = 1, 2  # the comparison is ==; a NaN makes it true


class Walk:
    """The tables of a forest, and the code of a walk through it.

    Groups of trees are filled up with a leaf of its own, number ``leaves`` of all; ``tables`` are what the kernel is
    given. Nodes are told by the word at which their record begins.
    """

    def __init__(self, forest: Forest) -> None:
        self._dtype = forest.threshold.dtype
        self._wide = self._dtype == FLOAT64
        self._shift = 3 if self._wide else 2  # a record has eight words, or four
        self._has_equals, self._has_missing = forest.kind is not None, forest.tracks_missing
        total, self._inner = len(forest.feature), forest.inner
        self.leaves = total - forest.inner
        self._at_once = min(AT_ONCE, len(forest.roots))
        self.groups = -(-len(forest.roots) // self._at_once)
        roots = np.full(self.groups * self._at_once, total)
        roots[: len(forest.roots)] = forest.roots
        steps = np.zeros(len(roots), np.int64)
        steps[: len(forest.roots)] = depths(forest)
        self.tables = [
            self._records(forest, total),
            (roots << self._shift).astype(np.int32),
            steps.reshape(self.groups, self._at_once).max(axis=1),
        ]

    @staticmethod
    def fits(forest: Forest) -> bool:
        """Whether the words of all records can be counted in 32 bits, and features beside their flags."""
        return len(forest.feature) < 1 << 27 and forest.features < 1 << 28

    def _records(self, forest: Forest, total: int) -> np.ndarray:
        words = np.zeros((total + 1, 1 << self._shift), np.int32)
        first = 2 if self._wide else 1
        words[:total, :first] = np.ascontiguousarray(forest.threshold).view(np.int32).reshape(total, first)
        words[:total, first] = forest.feature
        if self._has_equals or self._has_missing:
            flags = forest.true_if_missing * MISSING
            if forest.kind is not None:
                flags = flags + (forest.kind == EQ) * EQUALS
            words[:total, first] = (words[:total, first] << FLAGS) + flags
        words[:total, first + 1 : first + 3] = forest.children.reshape(total, 2) << self._shift
        words[total, first + 1 : first + 3] = total << self._shift
        return words

    def group(self, code: Code, places: tuple[str, str, str], group: Number, row: str, dtype: np.dtype) -> list[Number]:
        """The numbers of the leaves that a group of trees leads a row to; ``places`` are those of the tables."""
        nodes, roots, steps = places
        first = group * self._at_once
        cells = [code.cell(code.load(roots, first + tree, INT32).converted(INDEX)) for tree in range(self._at_once)]
        with code.loop(code.load(steps, group, INDEX)):
            for cell in cells:
                cell.set(self._next(code, nodes, cell.get(), row, dtype))
        return [(cell.get() >> self._shift) - self._inner for cell in cells]

    def _next(self, code: Code, nodes: str, node: Number, row: str, dtype: np.dtype) -> Number:
        threshold = code.load(nodes, node >> 1 if self._wide else node, self._dtype)
        behind = 2 if self._wide else 1
        feature = code.load(nodes, node + behind, INT32).converted(INDEX)
        flags = feature
        if self._has_equals or self._has_missing:
            feature = feature >> FLAGS
        x = code.load(row, feature, dtype).converted(self._dtype)
        holds = x <= threshold
        if self._has_equals:
            holds = (flags & EQUALS).differs(0).choose(x.equals(threshold), holds)
        if self._has_missing:
            holds = x.differs(x).choose((flags & MISSING).differs(0), holds)
        return code.load(nodes, node + holds.converted(INDEX) + (behind + 1), INT32).converted(INDEX)


def depths(forest: Forest) -> np.ndarray:
    """The number of comparisons on the longest way through each tree."""
    found = np.zeros(len(forest.roots), np.int64)
    tree, node = np.arange(len(forest.roots)), np.asarray(forest.roots)
    pairs = forest.children.reshape(-1, 2)
    while True:
        is_inner = node < forest.inner
        tree, node = tree[is_inner], node[is_inner]
        if not node.size:
            return found
        found[tree] += 1
        keys = np.unique(np.repeat(tree, 2) * len(pairs) + pairs[node].reshape(-1))  # nodes may be shared
        tree, node = keys // len(pairs), keys % len(pairs)
