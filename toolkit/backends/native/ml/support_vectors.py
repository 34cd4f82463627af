"""SVMRegressor and SVMClassifier in float64, row by row: kernels with all vectors, decisions of all pairs, answers.

The machines are those that the references make of the attributes. Refused: what the references refuse, transforms that
``scores`` does not serve, labels that are text where somebody reads them, and what needs many products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from toolkit.backends.native.assembly import functions
from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import BOOLEAN, Number
from toolkit.backends.native.kernel import CompiledKernel, plain_layouts
from toolkit.backends.native.ml.pair_coupling import FLOAT64, Coupling
from toolkit.backends.native.ml.rows import Row, Weights, whole
from toolkit.backends.native.ml.scores import FLOAT32, TRANSFORMS, Scores, put_label, with_opposite
from toolkit.backends.native.registry import is_of_numbers, kernel
from toolkit.backends.protocol import Kernel, Layout, Resources, plain
from toolkit.compiler.program import Node
from toolkit.operators.ml.kernels import NAMES, parameters
from toolkit.operators.ml.rows import DOMAIN, row_shape
from toolkit.operators.ml.support_vectors import CLASSIFICATION, REGRESSION, Machine

REGRESSOR, CLASSIFIER = "SVMRegressor", "SVMClassifier"
BYTE = np.dtype(np.uint8)
MOST_PRODUCTS = 1 << 21  # multiplications, about half a millisecond, from which two threads and the library win
MOST_CLASSES = 64  # a few tables of as many rows and columns lie on the stack


def is_machine(node: Node) -> bool:
    """Whether the node is a machine whose attributes fit together, with what is served here."""
    attributes = node.attributes
    if not is_of_numbers(node) or node.x.dtype == BOOLEAN or len(node.x.shape) > 2:
        return False
    machine = _machine(node)
    if machine is None or attributes.get("kernel_type", "LINEAR") not in NAMES:
        return False
    table = machine.weight if machine.vectors is None else machine.vectors
    rows, features = row_shape(node.x.shape)
    if table.shape[1] != features or len(attributes.get("kernel_params") or ()) not in (0, 3):
        return False
    if rows * table.size > MOST_PRODUCTS:
        return False
    if node.op_type == REGRESSOR:
        return True
    has_labels = bool(attributes.get("classlabels_ints")) or node.outputs[0] is None
    if not has_labels or attributes.get("post_transform", "NONE") not in TRANSFORMS:
        return False
    pairs = len(machine.offset)
    has_slopes = all(len(attributes.get(name) or ()) >= pairs for name in ("prob_a", "prob_b"))
    is_served = machine.vectors is None or not attributes.get("prob_a") or has_slopes
    return is_served and 2 <= _classes(node) <= MOST_CLASSES


def _labels(node: Node) -> Sequence[str] | Sequence[int]:
    found: Sequence[str] | Sequence[int] = (
        node.attributes.get("classlabels_strings") or node.attributes.get("classlabels_ints") or ()
    )
    return found


def _classes(node: Node) -> int:
    return len(_labels(node))


def _machine(node: Node) -> Machine | None:
    """``None`` where the reference will say what is wrong."""
    get = node.attributes.get
    names = ("coefficients", "rho", "support_vectors")
    if get("classlabels_strings") and get("classlabels_ints"):
        return None
    try:
        if node.op_type == REGRESSOR:
            return REGRESSION(*map(get, names), get("n_supports", 0))
        return CLASSIFICATION(*map(get, names), get("vectors_per_class"), _labels(node)) if _labels(node) else None
    except ValueError:
        return None


@kernel(DOMAIN, REGRESSOR, CLASSIFIER, accepts=is_machine)
def lower_machine(node: Node, inputs: Sequence[Layout | None], resources: Resources) -> Kernel:
    """Labels and scores, or what is regressed, of every row."""
    machine = _machine(node)
    assert machine is not None, "what is lowered was accepted"
    writer = _Writer(node, machine)
    made = plain_layouts(node.outputs)
    given = plain(node.x.dtype, node.x.shape)
    return CompiledKernel(writer.code, [given], made, workspace=writer.workspace, tables=writer.tables)


class _Writer:
    """Writes the code of a machine."""

    def __init__(self, node: Node, machine: Machine) -> None:
        self._node, self._machine, self._attributes = node, machine, node.attributes
        rows, features = row_shape(node.x.shape)
        self._vectors = None if machine.vectors is None else Weights(machine.vectors)
        self._weights = Weights(machine.weight)
        self._decisions = len(machine.weight)
        self.tables = self._all_tables()
        nbytes = whole(features, FLOAT64) * FLOAT64.itemsize
        self.workspace = nbytes + self._kernel_room() * FLOAT64.itemsize
        made = [item is not None for item in node.outputs]
        self.code = code = Code(1 + sum(made) + 1 + len(self.tables))
        source, *places = code.places
        self._outputs = [places.pop(0) if is_there else "" for is_there in made]
        workspace, self._weight_at, self._offset_at, self._label_at, *others = places
        self._vector_at, self._length_at = others[:2] if self._vectors is not None else ("", "")
        self._slope_at, self._shift_at = others[-2:] if self._couples else ("", "")
        self._features = Row(code, workspace, features, FLOAT64)
        self._kernels = self._features
        if self._vectors is not None:
            self._kernels = Row(code, code.address(workspace, nbytes, BYTE), self._vectors.rows, FLOAT64)
        self._decided = code.scratch(FLOAT64, self._weights.sums)
        self._coupling = Coupling(code, _classes(node)) if self._couples else None
        with code.loop(rows) as row:
            self._features.copy(source, row * features, node.x.dtype, FLOAT32)
            self._decide()
            self._answer(row)

    @property
    def _couples(self) -> bool:
        is_paired = self._node.op_type == CLASSIFIER and self._vectors is not None
        return is_paired and bool(self._attributes.get("prob_a"))

    def _kernel_room(self) -> int:
        """How many numbers lie behind the features: the kernel with each vector, and with those that fill a block."""
        return 0 if self._vectors is None else max(self._vectors.sums, whole(self._vectors.rows, FLOAT64))

    def _all_tables(self) -> list[np.ndarray]:
        machine, attributes = self._machine, self._attributes
        offset = np.broadcast_to(machine.offset, self._decisions)
        labels = np.array(attributes.get("classlabels_ints") or [0], np.int64)
        found = [self._weights.table, self._weights.padded(offset), labels]
        if self._vectors is not None and machine.vectors is not None:
            found += [self._vectors.table, self._vectors.padded(np.square(machine.vectors).sum(axis=1))]
        if self._couples:
            found += [np.asarray(attributes[name], np.float64) for name in ("prob_a", "prob_b")]
        return found

    def _load(self, place: str, at: Number | int) -> Number:
        return self.code.load(place, at, FLOAT64)

    # decisions --------------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        if self._vectors is not None:
            self._apply_kernel(self._vectors)
        self._weights.multiply(self._kernels, self._weight_at, self._put)

    def _put(self, at: Number, total: Number) -> None:
        self.code.store(total + self._load(self._offset_at, at), self._decided, at)

    def _apply_kernel(self, vectors: Weights) -> None:
        """The kernel of the row with every vector; what fills the last block and the last vector is 0."""
        code, target = self.code, self._kernels.place
        name = self._attributes.get("kernel_type", "LINEAR")
        gamma, offset, degree = parameters(self._attributes.get("kernel_params"))
        length = code.constant(0.0, FLOAT64)
        if name == "RBF":
            length = self._features.reduced(0.0, lambda total, item: item.times_plus(item, total)).sum_of_lanes()

        def finish(at: Number) -> None:
            product = self._load(target, at)
            if name == "RBF":
                distance = length + self._load(self._length_at, at) - product * 2.0
                found = functions.exponential(distance.larger(0.0) * -gamma)
            elif name == "SIGMOID":
                found = functions.hyperbolic_tangent(product * gamma + offset)
            else:
                found = (product * gamma + offset).of_c_library("pow", product.like(degree))
            code.store(found, target, at)

        vectors.multiply(self._features, self._vector_at, lambda at, product: code.store(product, target, at))
        if name != "LINEAR":
            with code.loop(vectors.rows) as at:
                finish(at)
        with code.loop(self._kernel_room(), start=vectors.rows) as at:
            code.store(code.constant(0.0, FLOAT64), target, at)

    # answers ----------------------------------------------------------------------------------------------------------

    def _answer(self, row: Number) -> None:
        if self._node.op_type == REGRESSOR:
            decided = self._load(self._decided, 0)
            if self._attributes.get("one_class", 0):
                decided = (decided > 0.0).choose(decided.like(1.0), -1.0)
            self.code.store(decided.converted(FLOAT32), self._outputs[0], row)
            return
        label, target = (*self._outputs, "")[:2]
        if label:
            put_label(self.code, self._label_at, self._winner(), label, row)
        if target:
            self._score(row, target)

    def _winner(self) -> Number:
        """The class of the highest score, or the one that most pairs vote for."""
        code, classes = self.code, _classes(self._node)
        if self._vectors is not None:
            votes = Scores(code, classes, FLOAT64)
            votes.clear()
            for_all_pairs(code, classes, lambda pair, i, j: self._vote(votes, pair, i, j))
            return votes.winner()
        winner = Scores(code, classes, FLOAT64, place=self._decided).winner()
        if classes > 2 or self._attributes.get("prob_a"):
            return winner
        highest = self._load(self._decided, 0).larger(self._load(self._decided, 1))
        speaks = highest >= 0.5 if (self._machine.weight >= 0).all() else highest > 0.0
        return speaks.choose(code.index(1), winner)

    def _vote(self, votes: Scores, pair: Number, i: Number, j: Number) -> None:
        wins = self._load(self._decided, pair) > 0.0
        winner = wins.choose(i, j)
        votes.set(winner, votes.get(winner) + 1.0)

    def _score(self, row: Number, target: str) -> None:
        transform, place, count = self._attributes.get("post_transform", "NONE"), self._decided, self._decisions
        if self._coupling is not None:
            count, place = _classes(self._node), self._coupling.probability
            for_all_pairs(self.code, count, self._put_pair)
            self._coupling.solve()
        elif self._vectors is not None and count == 1:
            score = self._load(self._decided, 0).converted(FLOAT32)
            for column, item in enumerate(with_opposite(score, transform, transform != "NONE")):
                self.code.store(item, target, row * 2 + column)
            return
        scores = Scores(self.code, count, FLOAT32)
        with self.code.loop(count) as at:
            scores.set(at, self._load(place, at).converted(FLOAT32))
        scores.transform(transform)
        scores.write(target, row * count)

    def _put_pair(self, pair: Number, i: Number, j: Number) -> None:
        """Platt's probability of ``i`` against ``j``, exact at both ends."""
        assert self._coupling is not None
        score = self._load(self._decided, pair) * self._load(self._slope_at, pair) + self._load(self._shift_at, pair)
        decay = functions.exponential(-score.absolute())
        share = (score <= 0.0).choose(decay.like(1.0), decay) / (decay + 1.0)
        self._coupling.put(i, j, share)


def for_all_pairs(code: Code, classes: int, do: Callable[[Number, Number, Number], None]) -> None:
    """``do`` gets the number of a pair and its two classes, in the order of the decisions."""
    pair = code.cell(code.index(0))
    with code.loop(classes) as i, code.loop(classes, start=i + 1) as j:
        do(pair.get(), i, j)
        pair.set(pair.get() + 1)
