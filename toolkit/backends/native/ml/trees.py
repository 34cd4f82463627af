"""Tree ensembles: every row walks down every tree, what the leaves say is put together on the stack.

The trees are those that the reference has made of the attributes. Refused: sets of members, labels that are text where
somebody reads them, transforms that ``scores`` does not serve, and what the reference refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, INDEX, Number
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.ml.scores import MOST_SCORES, TRANSFORMS, Scores, put_label, with_opposite
from toolkit.backends.native.ml.tree_walk import FLOAT64, INT32, Walk
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.ml.forest import Forest
from toolkit.operators.ml.leaf_weights import AGGREGATES, LeafVector, LeafWeights
from toolkit.operators.ml.post_transform import NAMES
from toolkit.operators.ml.rows import DOMAIN, row_shape
from toolkit.operators.ml.trees import base_of, classification, prepared_type, regression, split_ensemble

REGRESSOR, CLASSIFIER, ENSEMBLE = "TreeEnsembleRegressor", "TreeEnsembleClassifier", "TreeEnsemble"
Combine = Callable[[Number, Number], Number]
EXTREMES: dict[str, tuple[Combine, float]] = {"MIN": (Number.smaller, np.inf), "MAX": (Number.larger, -np.inf)}


class _Ensemble(NamedTuple):
    """A node's attributes, the same for all versions."""

    forest: Forest
    leaf: LeafWeights
    base: np.ndarray
    function: str
    transform: str
    labels: Sequence[int]


def is_ensemble(node: Node) -> bool:
    """Whether the node is an ensemble with what is served here."""
    if not is_of_numbers(node) or node.x.dtype == BOOLEAN or len(node.x.shape) > 2:
        return False
    try:
        found = _ensemble(node)
    except ValueError:
        return False  # the reference will say what is wrong
    targets, sizes = found.leaf.targets, {0, found.leaf.targets}
    if node.op_type == CLASSIFIER:
        has_labels = len(found.labels) == targets or node.outputs[0] is None
        if targets < 2 or not has_labels:
            return False
        sizes |= {1} if targets == 2 else set()
    forest, features = found.forest, row_shape(node.x.shape)[1]
    is_known = found.function in AGGREGATES and found.transform in TRANSFORMS and found.base.size in sizes
    is_walked = forest.members is None and len(forest.roots) > 0 and Walk.fits(forest)
    return is_known and is_walked and targets <= MOST_SCORES and forest.features <= features


def _ensemble(node: Node) -> _Ensemble:
    """Raises ``ValueError`` for attributes that do not fit together."""
    attributes, dtype = node.attributes, prepared_type(node.x.dtype)
    if node.op_type == ENSEMBLE:
        function, transform = attributes.get("aggregate_function", 1), attributes.get("post_transform", 0)
        if not 0 <= function < len(AGGREGATES) or not 0 <= transform < len(NAMES):
            raise ValueError("aggregate_function and post_transform must be listed")
        made = split_ensemble(dtype, attributes)
        return _Ensemble(*made, np.zeros(0, dtype), AGGREGATES[function], NAMES[transform], ())
    is_classifier = node.op_type == CLASSIFIER
    function = "SUM" if is_classifier else attributes.get("aggregate_function", "SUM")
    made = (classification if is_classifier else regression)(dtype, attributes)
    labels = attributes.get("classlabels_int64s") or ()
    return _Ensemble(*made, base_of(attributes, dtype), function, attributes.get("post_transform", "NONE"), labels)


@kernel(DOMAIN, REGRESSOR, CLASSIFIER, ENSEMBLE, accepts=is_ensemble)
def lower_ensemble(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Labels and scores, or what is regressed, of every row."""
    writer = _Writer(node, _ensemble(node))
    layouts = plain_layouts(node.outputs)
    return CompiledKernel(writer.code, [plain(node.x.dtype, node.x.shape)], layouts, tables=writer.tables)


class _Writer:
    """Writes the code of an ensemble."""

    def __init__(self, node: Node, ensemble: _Ensemble) -> None:
        self._node, self._ensemble, self._leaf = node, ensemble, ensemble.leaf
        self._dtype = ensemble.forest.threshold.dtype
        self._walk = Walk(ensemble.forest)
        self._combine, self._start = EXTREMES.get(ensemble.function, (Number.__add__, 0.0))
        tables = self._all_tables()
        self.tables = [np.ascontiguousarray(item) for item in tables.values()]
        made = [item is not None for item in node.outputs]
        self.code = Code(1 + sum(made) + len(self.tables))
        self._x, *places = self.code.places
        self._outputs = [places.pop(0) if is_there else "" for is_there in made]
        self._place = dict(zip(tables, places, strict=True))
        targets, is_vector = self._leaf.targets, isinstance(self._leaf, LeafVector)
        keeps = self._asks_for_given()
        self._sums = Scores(self.code, targets, FLOAT64 if is_vector else self._dtype, keeps_given=keeps)
        self._scores = self._sums.narrowed(self._dtype)
        rows, self._width = row_shape(node.x.shape)
        with self.code.loop(rows) as row:
            self._row(row)

    def _asks_for_given(self) -> bool:
        """Whether it matters for which targets leaves have weights, and some have none."""
        leaf = self._leaf
        if not isinstance(leaf, LeafVector) and leaf.is_full:
            return False
        if self._node.op_type != CLASSIFIER:
            return self._ensemble.function in EXTREMES
        return leaf.targets == 2 or not self._ensemble.base.size

    def _all_tables(self) -> dict[str, np.ndarray]:
        """What the code reads, by name; the last leaf is the one that groups of trees are filled up with."""
        leaf, ensemble = self._leaf, self._ensemble
        found = dict(zip(("nodes", "roots", "steps"), self._walk.tables, strict=True))
        weight = np.where(leaf.given, leaf.weight, np.asarray(self._start, leaf.weight.dtype))
        found["weight"] = _with_one_more(weight, self._start)
        found["given"] = _with_one_more(leaf.given, False)
        if isinstance(leaf, LeafVector):
            found["target"] = _with_one_more(leaf.target.astype(np.int32), 0)
        if ensemble.labels:
            found["labels"] = np.array(ensemble.labels, np.int64)
        if ensemble.base.size:
            found["base"] = ensemble.base
        return found

    def _read(self, table: str, at: Number, dtype: np.dtype) -> Number:
        return self.code.load(self._place[table], at, dtype)

    # rows -------------------------------------------------------------------------------------------------------------

    def _row(self, row: Number) -> None:
        code, places = self.code, (self._place["nodes"], self._place["roots"], self._place["steps"])
        self._sums.clear(self._start)
        features = code.address(self._x, row * self._width, self._node.x.dtype)
        with code.loop(self._walk.groups) as group:
            self._add(self._walk.group(code, places, group, features, self._node.x.dtype))
        if self._scores is not self._sums:
            self._scores.take(self._sums)
        if self._node.op_type != CLASSIFIER:
            self._regress(row)
        elif self._scores.count == 2:
            self._decide(row)
        else:
            self._choose(row)

    def _add(self, leaves: Sequence[Number]) -> None:
        """What leaves say, in the order of their trees."""
        sums, targets = self._sums, self._leaf.targets
        if isinstance(self._leaf, LeafVector):
            for leaf in leaves:
                target = self._read("target", leaf, INT32).converted(INDEX)
                self._take(target, [leaf])
            return
        starts = [leaf * targets for leaf in leaves]
        with self.code.loop(sums.count) as target:
            self._take(target, [start + target for start in starts])

    def _take(self, target: Number, at: Sequence[Number]) -> None:
        """The weights of one target that lie at places of the table."""
        sums = self._sums
        total, said = sums.get(target), None
        for place in at:
            total = self._combine(total, self._read("weight", place, self._dtype).converted(sums.dtype))
            if sums.given:
                given = self._read("given", place, BOOLEAN)
                said = given if said is None else said | given
        sums.set(target, total)
        if said is not None:
            sums.say(target, said)

    # answers ----------------------------------------------------------------------------------------------------------

    def _regress(self, row: Number) -> None:
        scores, trees = self._scores, len(self._ensemble.forest.roots)
        if self._ensemble.function == "AVERAGE":
            scores.change(lambda at, score: score / float(trees))
        elif self._ensemble.function in EXTREMES:
            scores.change(lambda at, score: scores.is_given(at).choose(score, 0.0))
        self._add_base()
        scores.transform(self._ensemble.transform)
        scores.write(self._outputs[0], row * scores.count, self._node.y.dtype)

    def _add_base(self) -> None:
        if self._ensemble.base.size:
            self._scores.change(lambda at, score: score + self._read("base", at, self._dtype))

    def _choose(self, row: Number) -> None:
        """One of several classes; with base values something is said of each."""
        self._add_base()
        self._put_label(row, self._scores.winner)
        if len(self._outputs) > 1 and self._outputs[1]:
            self._scores.transform(self._ensemble.transform)
            self._scores.write(self._outputs[1], row * self._scores.count)

    def _put_label(self, row: Number, winner: Callable[[], Number]) -> None:
        if self._outputs[0]:
            put_label(self.code, self._place["labels"], winner(), self._outputs[0], row)

    def _decide(self, row: Number) -> None:
        """Between two classes, see ``binary_scores`` of the reference."""
        scores, base = self._scores, [float(item) for item in self._ensemble.base]
        transform = self._ensemble.transform
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
        self._put_label(row, lambda: (deciding > (0.5 if is_probability else 0.0)).converted(INDEX))
        if len(self._outputs) < 2 or not self._outputs[1]:
            return
        low, high = has_first.choose(low, zero), has_second.choose(high, zero)
        scores.set(0, low)
        scores.set(1, high)
        scores.transform(transform)
        if len(base) < 2:
            for at, opposite in enumerate(with_opposite(low, transform, is_probability)):
                scores.set(at, has_second.choose(scores.get(at), opposite))
        scores.write(self._outputs[1], row * 2)


def _with_one_more(table: np.ndarray, value: float) -> np.ndarray:
    """A table with one more row, all of one value."""
    return np.concatenate([table, np.full((1, *table.shape[1:]), value, table.dtype)])
