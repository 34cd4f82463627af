"""Tree ensembles: every row walks down every tree, what the leaves say is added up on the stack.

The trees are those that the reference has made of the attributes. Refused: sets of members, minima and maxima of trees,
float64, labels that are text, and transforms that ``scores`` does not serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.backends.native.code import Code
from toolkit.backends.native.kernel import CompiledKernel
from toolkit.backends.native.number import BOOLEAN, INDEX, NUMBERS, Number
from toolkit.backends.native.registry import kernel
from toolkit.backends.native.scores import FLOAT32, MOST_SCORES, TRANSFORMS, Scores, put_label, with_opposite
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.ml.forest import EQ, Forest
from toolkit.operators.ml.leaf_weights import LeafVector, LeafWeights
from toolkit.operators.ml.rows import DOMAIN, row_shape
from toolkit.operators.ml.trees import base_of, classification, regression

FLOAT64, INT32, BYTE = np.dtype(np.float64), np.dtype(np.int32), np.dtype(np.uint8)
REGRESSOR, CLASSIFIER = "TreeEnsembleRegressor", "TreeEnsembleClassifier"


def is_ensemble(node: Node) -> bool:
    """Whether the node is an ensemble in float32 with what is served here."""
    x, attributes = node.inputs[0], node.attributes
    if x is None or x.dtype not in NUMBERS or x.dtype == FLOAT64 or not x.size:
        return False
    if attributes.get("post_transform", "NONE") not in TRANSFORMS or attributes.get("classlabels_strings"):
        return False
    if attributes.get("aggregate_function", "SUM") not in ("SUM", "AVERAGE"):
        return False
    if node.op_type == CLASSIFIER and len(attributes.get("classlabels_int64s") or ()) < 2:
        return False
    forest, leaf = _ensemble(node)
    return forest.members is None and leaf.targets <= MOST_SCORES and forest.features <= row_shape(x.shape)[1]


def _ensemble(node: Node) -> tuple[Forest, LeafWeights]:
    make = classification if node.op_type == CLASSIFIER else regression
    return make(FLOAT32, node.attributes)


@kernel(DOMAIN, REGRESSOR, CLASSIFIER, accepts=is_ensemble)
def lower_ensemble(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Labels and scores, or what is regressed, of every row."""
    writer = _Ensemble(node, *_ensemble(node))
    layouts = [None if item is None else plain(item.dtype, item.shape) for item in node.outputs]
    return CompiledKernel(writer.code, [plain(node.x.dtype, node.x.shape)], layouts, tables=writer.tables)


class _Ensemble:
    """Writes the code of an ensemble."""

    def __init__(self, node: Node, forest: Forest, leaf: LeafWeights) -> None:
        self._node, self._forest, self._leaf, self._attributes = node, forest, leaf, node.attributes
        self._transform = self._attributes.get("post_transform", "NONE")
        self._base = base_of(self._attributes, FLOAT32)
        self.tables: list[np.ndarray] = []
        made = [item is not None for item in node.outputs]
        self._tabled = self._all_tables()
        self.code = Code(1 + sum(made) + len(self.tables))
        self._x, *places = self.code.places
        self._outputs = [places.pop(0) if is_there else "" for is_there in made]
        self._table_at = dict(zip(self._tabled, places, strict=True))
        is_vector = isinstance(leaf, LeafVector)
        self._scores = Scores(
            self.code, leaf.targets, FLOAT64 if is_vector else FLOAT32, keeps_given=node.op_type == CLASSIFIER
        )
        rows, self._width = row_shape(node.x.shape)
        with self.code.loop(rows) as row:
            self._row(row)

    def _all_tables(self) -> list[str]:
        """The arrays that the walk reads, by name."""
        forest, leaf = self._forest, self._leaf
        found: dict[str, Any] = {"feature": forest.feature.astype(np.int32), "threshold": forest.threshold}
        found |= {"children": forest.children.astype(np.int32), "roots": forest.roots.astype(np.int32)}
        if forest.kind is not None:
            found["kind"] = forest.kind.astype(np.uint8)
        if forest.tracks_missing:
            found["missing"] = forest.true_if_missing
        found |= {"weight": leaf.weight, "given": leaf.given}
        if isinstance(leaf, LeafVector):
            found["target"] = leaf.target.astype(np.int32)
        if self._node.op_type == CLASSIFIER:
            found["labels"] = np.array(self._attributes["classlabels_int64s"], np.int64)
        if self._base.size:
            found["base"] = self._base
        self.tables = [np.ascontiguousarray(item) for item in found.values()]
        return list(found)

    def _read(self, table: str, at: Number, dtype: np.dtype) -> Number:
        return self.code.load(self._table_at[table], at, dtype)

    # rows -------------------------------------------------------------------------------------------------------------

    def _row(self, row: Number) -> None:
        self._scores.clear()
        with self.code.loop(len(self._forest.roots)) as tree:
            leaf = self._walk(row * self._width, self._read("roots", tree, INT32)) - self._forest.inner
            self._add(leaf.converted(INDEX))
        if self._node.op_type == REGRESSOR:
            self._regress(row)
        elif self._scores.count == 2:
            self._decide(row)
        else:
            self._choose(row)

    def _walk(self, start: Number, root: Number) -> Number:
        """The node that a row ends in."""
        node = self.code.cell(root)
        with self.code.repeat() as leave:
            leave(node.get() >= self._forest.inner)
            at = node.get().converted(INDEX)
            feature = self._read("feature", at, INT32).converted(INDEX)
            x = self.code.load(self._x, start + feature, self._node.x.dtype).converted(FLOAT32)
            holds = self._holds(x, at).converted(INDEX)
            node.set(self._read("children", at * 2 + holds, INT32))
        return node.get()

    def _holds(self, x: Number, node: Number) -> Number:
        threshold = self._read("threshold", node, FLOAT32)
        holds = x <= threshold
        if self._forest.kind is not None:
            holds = self._read("kind", node, BYTE).equals(EQ).choose(x.equals(threshold), holds)
        if self._forest.tracks_missing:
            holds = x.differs(x).choose(self._read("missing", node, BOOLEAN), holds)
        return holds

    def _add(self, leaf: Number) -> None:
        if isinstance(self._leaf, LeafVector):
            target = self._read("target", leaf, INT32).converted(INDEX)
            self._scores.add(target, self._read("weight", leaf, FLOAT32), self._read("given", leaf, BOOLEAN))
            return
        with self.code.loop(self._leaf.targets) as target:
            at = leaf * self._leaf.targets + target
            self._scores.add(target, self._read("weight", at, FLOAT32), self._read("given", at, BOOLEAN))

    # answers ----------------------------------------------------------------------------------------------------------

    def _regress(self, row: Number) -> None:
        scores, trees = self._scores, max(len(self._forest.roots), 1)
        if self._attributes.get("aggregate_function", "SUM") == "AVERAGE":
            scores.change(lambda at, score: score / float(trees))
        self._add_base()
        scores.transform(self._transform)
        scores.write(self._outputs[0], row * scores.count)

    def _add_base(self) -> None:
        if self._base.size:
            self._scores.change(lambda at, score: score + self._read("base", at, FLOAT32).converted(score.dtype))

    def _choose(self, row: Number) -> None:
        """One of several classes; with base values something is said of each."""
        scores = self._scores
        self._add_base()
        if self._base.size:
            with self.code.loop(scores.count) as at:
                self.code.store(self.code.constant(True, BOOLEAN), scores.given, at)
        self._put(row, scores.winner())

    def _put(self, row: Number, winner: Number) -> None:
        if self._outputs[0]:
            put_label(self.code, self._table_at["labels"], winner, self._outputs[0], row)
        if len(self._outputs) > 1 and self._outputs[1]:
            self._scores.transform(self._transform)
            self._scores.write(self._outputs[1], row * self._scores.count)

    def _decide(self, row: Number) -> None:
        """Between two classes, see ``binary_scores`` of the reference."""
        scores, base = self._scores, [float(item) for item in self._base]
        has_first, has_second = scores.is_given(0), scores.is_given(1)
        low, high = scores.get(0), scores.get(1)
        if len(base) == 2:
            low, high = (
                has_second.choose(-(low + base[1]), low + base[0]),
                has_second.choose(low, high) + base[1],
            )
        elif base:
            low = low + base[0]
        zero = low.like(0.0)
        deciding = has_second.choose(high, has_first.choose(low, zero))
        is_probability = self._leaf.is_sole and self._leaf.is_positive
        winner = (deciding > (0.5 if is_probability else 0.0)).converted(INDEX)
        low, high = has_first.choose(low, zero), has_second.choose(high, zero)
        scores.set(0, low)
        scores.set(1, high)
        if self._outputs[0]:
            put_label(self.code, self._table_at["labels"], winner, self._outputs[0], row)
        if len(self._outputs) < 2 or not self._outputs[1]:
            return
        scores.transform(self._transform)
        if len(base) < 2:
            for at, opposite in enumerate(with_opposite(low, self._transform, is_probability)):
                scores.set(at, has_second.choose(scores.get(at), opposite))
        scores.write(self._outputs[1], row * 2)
