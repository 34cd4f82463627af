"""Decision trees as arrays, and the descent of many rows through all trees at once, level by level.

Few rows through small trees take all comparisons at once instead, see ``tree_masks``.

Inner nodes come first, leaves after them. Every comparison is reduced to three kinds, so that a level costs few array
operations: ``x <= threshold``, ``x == threshold`` and ``x in members``; the others swap the children or move the
threshold to the next smaller number. Descending compares in the element type of the thresholds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from toolkit.operators.ml.tree_masks import Masks, masks_of

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
LEQ, LT, GTE, GT, EQ, NEQ, MEMBER = range(len(MODES))
CHUNK = 1 << 15  # nodes that descend together: few enough for their arrays to stay in the cache
LEVELS = 4  # after so many levels, paths that have ended are taken out
AT_ONCE = 1 << 14  # comparisons of all rows up to which making all of them costs less than descending


@dataclass(frozen=True, slots=True)
class Members:
    """The sets of MEMBER nodes: ``codes`` are sorted, one for each (set, number of a value among ``values``)."""

    values: np.ndarray
    codes: np.ndarray
    set_of_node: np.ndarray

    def contain(self, node: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Whether each ``x`` is in the set of its node."""
        near = np.minimum(np.searchsorted(self.values, x), len(self.values) - 1)
        code = self.set_of_node[node] * len(self.values) + near
        place = np.minimum(np.searchsorted(self.codes, code), len(self.codes) - 1)
        return np.asarray((self.values[near] == x) & (self.codes[place] == code))


@dataclass(frozen=True, slots=True)
class Forest:
    """All trees; ``children[2 * node + 1]`` is where a true comparison leads, ``children[2 * node]`` a false one.

    A node with the number ``inner`` or above is a leaf, which leads to itself. ``kind`` is ``None`` where every node
    is LEQ, ``masks`` where trees are too large to make all comparisons at once; ``tracks_missing`` says that a NaN
    makes some comparison true.
    """

    feature: np.ndarray
    threshold: np.ndarray
    children: np.ndarray
    true_if_missing: np.ndarray
    kind: np.ndarray | None
    members: Members | None
    roots: np.ndarray
    inner: int
    features: int
    tracks_missing: bool
    masks: Masks | None

    def leaves(self, x: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """Rows of ``x`` and the numbers (trees, rows) of the leaves they end in, from 0, a part of the rows at a time.

        Raises ``ValueError`` when a tree asks for a feature that ``x`` does not have.
        """
        if x.shape[1] < self.features:
            raise ValueError(f"the trees need {self.features} features, got {x.shape[1]}")
        has_missing = self.tracks_missing and bool(np.isnan(x).any())
        if self.masks is not None and 0 < len(x) * len(self.masks.nodes) <= AT_ONCE:
            holds = self._holds(self.masks.nodes, x.take(self.masks.features, axis=1), has_missing)
            yield slice(0, len(x)), self.masks.leaves(holds) - self.inner
            return
        step = max(1, CHUNK // max(len(self.roots), 1))
        for start in range(0, len(x), step):
            rows = slice(start, min(start + step, len(x)))
            yield rows, self._descend(np.ascontiguousarray(x[rows]), has_missing) - self.inner

    def _descend(self, x: np.ndarray, has_missing: bool) -> np.ndarray:
        rows, width = x.shape
        flat = x.reshape(-1)
        node = np.repeat(self.roots, rows)
        if not self.inner:
            return node.reshape(len(self.roots), rows)
        offset = np.tile(np.arange(rows) * width, len(self.roots))
        ended, path = node, None  # the leaf of every path, and which paths are still under way
        while True:
            for _ in range(LEVELS):
                node = self._next(node, flat.take(self.feature.take(node) + offset), has_missing)
            under_way = node < self.inner
            if path is None:
                ended, path = node, np.flatnonzero(under_way)
            else:
                ended[path] = node
                path = path[under_way]
            if not path.size:
                return ended.reshape(len(self.roots), rows)
            node, offset = node[under_way], offset[under_way]

    def _next(self, node: np.ndarray, x: np.ndarray, has_missing: bool) -> np.ndarray:
        return np.asarray(self.children.take(2 * node + self._holds(node, x, has_missing)))

    def _holds(self, node: np.ndarray, x: np.ndarray, has_missing: bool) -> np.ndarray:
        """Whether the comparisons of nodes are true of ``x``, (..., nodes)."""
        holds = x <= self.threshold.take(node)
        if self.kind is not None:
            kind = self.kind.take(node)
            np.equal(x, self.threshold.take(node), out=holds, where=kind == EQ)
            if self.members is not None:
                chosen = np.flatnonzero(kind == MEMBER)
                holds[..., chosen] = self.members.contain(node[chosen], x[..., chosen])
        if has_missing:
            np.copyto(holds, self.true_if_missing.take(node), where=np.isnan(x))
        return np.asarray(holds)


def grow(
    modes: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    when_true: np.ndarray,
    when_false: np.ndarray,
    tracks_true: np.ndarray,
    roots: np.ndarray,
    leaf_count: int,
    members: np.ndarray | None = None,
) -> Forest:
    """A forest of inner nodes, given as arrays of one element each, and leaves numbered after them.

    ``modes`` are indices into ``MODES``; ``members`` holds the sets of the MEMBER nodes in their order, each ended by
    a NaN. Raises ``ValueError`` for children that do not exist and for nodes that lead back to themselves.
    """
    inner, total = len(modes), len(modes) + leaf_count
    for name, target in (("true", when_true), ("false", when_false), ("root", roots)):
        if target.size and not 0 <= target.min() <= target.max() < total:
            raise ValueError(f"{name} nodes must lie in [0, {total - 1}], got {target.min()} to {target.max()}")
    if inner and feature.min() < 0:
        raise ValueError(f"feature numbers must not be negative, got {feature.min()}")
    _refuse_cycles(when_true, when_false, inner)
    modes = np.where(np.isnan(threshold) & np.isin(modes, (GTE, GT)), LEQ, modes)  # false, as every one with NaN
    swapped = np.isin(modes, (GTE, GT, NEQ))
    kind = np.array([LEQ, LEQ, LEQ, LEQ, EQ, EQ, MEMBER])[modes]
    below = np.isin(modes, (LT, GTE))
    lowered = np.where(np.isneginf(threshold), np.nan, np.nextafter(threshold, threshold.dtype.type(-np.inf)))
    children = np.repeat(np.arange(total), 2)
    children[0 : 2 * inner : 2] = np.where(swapped, when_true, when_false)
    children[1 : 2 * inner : 2] = np.where(swapped, when_false, when_true)
    # A NaN makes no comparison true but NEQ; whether it is tracked is asked of the comparison as the model states it.
    leads_true = tracks_true | (modes == NEQ)
    table = np.concatenate([np.where(below, lowered, threshold), np.zeros(leaf_count, threshold.dtype)])
    return Forest(
        feature=np.concatenate([feature, np.zeros(leaf_count, feature.dtype)]),
        threshold=table.astype(threshold.dtype),
        children=children,
        true_if_missing=np.concatenate([leads_true != swapped, np.zeros(leaf_count, bool)]),
        kind=np.concatenate([kind, np.zeros(leaf_count, kind.dtype)]) if kind.any() else None,
        members=_members(members, kind == MEMBER, total, threshold.dtype) if (kind == MEMBER).any() else None,
        roots=roots,
        inner=inner,
        features=int(feature.max()) + 1 if inner else 0,
        tracks_missing=bool((leads_true != swapped).any()),
        masks=masks_of(feature, children, roots, inner) if inner <= AT_ONCE else None,
    )


def _members(given: np.ndarray | None, is_member: np.ndarray, total: int, dtype: np.dtype) -> Members:
    content = np.asarray([] if given is None else given, dtype)
    ends = np.isnan(content)
    owner = (np.cumsum(ends) - ends)[~ends]
    values, number = np.unique(content[~ends], return_inverse=True)
    if not values.size or owner.max() >= is_member.sum():
        raise ValueError(f"membership_values must hold a set for each of {is_member.sum()} nodes, separated by NaN")
    set_of_node = np.zeros(total, np.int64)
    set_of_node[: len(is_member)][is_member] = np.arange(is_member.sum())
    return Members(values, np.unique(owner * len(values) + number), set_of_node)


def _refuse_cycles(when_true: np.ndarray, when_false: np.ndarray, inner: int) -> None:
    """Take out the nodes that nothing leads to, again and again: what is left at the end leads in a circle."""
    targets = np.stack([when_true, when_false], axis=1)
    entries = np.bincount(targets[targets < inner], minlength=inner)
    free, left = np.flatnonzero(entries == 0), inner
    while free.size:
        left -= free.size
        reached = targets[free].reshape(-1)
        reached = reached[reached < inner]
        np.subtract.at(entries, reached, 1)
        free = np.unique(reached[entries[reached] == 0])
    if left:
        raise ValueError(f"{left} nodes of the trees lead back to themselves")
