"""No operator of ONNX, and none of onnxruntime's, is without a gradient unless it has none to give, and says why."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import onnx.defs
import pytest

from tests.cases import all_cases
from toolkit.operators import REGISTRY, lookup
from toolkit.operators.record import NotDifferentiable, Operator

TABLE = Path(__file__).parents[3] / "shared" / "conformance" / "differentiable_ops.csv"
FIRST_VERSION = 7  # the oldest opset whose models are trained

# What has no gradient, because there is none.
INTEGERS = "MatMulInteger ConvInteger BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Size Shape"
TRUTH_VALUES = "And Or Xor Not Equal Greater GreaterOrEqual Less LessOrEqual IsInf IsNaN OptionalHasElement"
POSITIONS = "ArgMax ArgMin NonZero NonMaxSuppression SequenceLength"
STEPS = "Sign Floor Ceil Round Hardmax BitCast"
ROUNDING = "QuantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul"  # straight through, where asked for
FIXED = "Constant ConstantOfShape EyeLike Range HannWindow HammingWindow BlackmanWindow MelWeightMatrix"
DRAWN = "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike"
TEXT = "StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer ImageDecoder"
LATE = "Unique"  # what it keeps is known only when it has run
# Resolved while a program is bound, so that what they do is differentiated, not they themselves.
PLUMBING = (
    "If Loop Scan Optional OptionalGetElement SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert "
    "SequenceMap SplitToSequence ConcatFromSequence"
)
MACHINE_LEARNING = (
    "Binarizer LabelEncoder CategoryMapper OneHotEncoder DictVectorizer CastMap ZipMap TreeEnsemble "
    "TreeEnsembleClassifier TreeEnsembleRegressor"
)
OPTIMIZERS = "Adagrad Adam Momentum Gradient"
MICROSOFT = (
    "MurmurHash3 IsAllFinite Range Unique DynamicTimeWarping Tokenizer "
    "MatMulInteger16 MulInteger ReduceSumInteger QAttention QEmbedLayerNormalization "
    "QuantizeLinear DynamicQuantizeMatMul DynamicQuantizeLSTM QGemm QLinearConv QLinearAdd QLinearMul QLinearLeakyRelu "
    "QLinearSigmoid QLinearSoftmax QLinearWhere QLinearConcat QLinearAveragePool QLinearGlobalAveragePool "
    "QLinearReduceMean"
)
WITHOUT = {
    "": {
        *f"{INTEGERS} {TRUTH_VALUES} {POSITIONS} {STEPS} {ROUNDING} {FIXED} {DRAWN} {TEXT} {LATE} {PLUMBING}".split(),
        *["ConstantFill", "GivenTensorFill"],  # of onnxruntime, in ONNX's domain
    },
    "ai.onnx.ml": set(MACHINE_LEARNING.split()),
    "ai.onnx.preview.training": set(OPTIMIZERS.split()),
    "com.microsoft": set(MICROSOFT.split()),
}
# ONNX calls these inputs differentiable, too. Statistics that are given are numbers to normalise by, not to learn.
FIXED_INPUTS = {("BatchNormalization", "input_mean"), ("BatchNormalization", "input_var")}
# Differentiable in fact, though ONNX does not say so.
UNMARKED = (
    "Attention LayerNormalization RMSNormalization RotaryEmbedding DeformConv RoiAlign GridSample DequantizeLinear DFT "
    "STFT AffineGrid OneHot Swish TensorScatter CumProd Col2Im CenterCropPad GroupNormalization Compress"
)


def schemas() -> Iterator[tuple[str, str, int]]:
    """Domain, name and since_version of everything that ONNX defines, all former versions included."""
    for schema in onnx.defs.get_all_schemas_with_history():
        if not schema.deprecated:
            yield schema.domain, schema.name, schema.since_version


def in_force(domain: str, name: str) -> list[int]:
    """The since_versions of an operator that models from FIRST_VERSION on can have."""
    versions = sorted(version for *key, version in schemas() if key == [domain, name])
    first = max((version for version in versions if version <= FIRST_VERSION), default=versions[0])
    return [version for version in versions if version >= first]


def gradient_is_given(record: Operator | None) -> bool:
    """Whether a record has a rule, or a slope that is zero."""
    assert record is not None
    return not isinstance(record.gradient, NotDifferentiable) or record.gradient.slope_is_zero is True


def test_every_operator_of_onnx_has_a_gradient_or_a_reason() -> None:
    for domain, name, version in sorted(set(schemas())):
        record = lookup(domain, name, version)
        assert record is not None, f"{domain}::{name}-{version} has no record"
        if isinstance(record.gradient, NotDifferentiable):
            why = record.gradient.reason
            assert why, f"{domain}::{name}-{version} gives no reason"
            assert name in WITHOUT.get(domain, ()), f"{name} says: {why}. Is there really no derivative?"


def test_nothing_is_listed_that_has_a_gradient() -> None:
    records = [record for versions in REGISTRY.values() for record in versions]
    without = {(item.domain, item.name) for item in records if isinstance(item.gradient, NotDifferentiable)}
    listed = {(domain, name) for domain, names in WITHOUT.items() for name in names}
    assert {key for key in without if key[0] in WITHOUT} == listed


@pytest.mark.parametrize("name", UNMARKED.split())
def test_unmarked_operators_have_a_gradient(name: str) -> None:
    for version in in_force("", name):
        record = lookup("", name, version)
        assert record is not None
        assert not isinstance(record.gradient, NotDifferentiable), f"{name}-{version}"


def marked() -> list[dict[str, str]]:
    """The rows of the table that name a differentiable input."""
    if not TABLE.is_file():
        return []
    with TABLE.open(encoding="utf-8") as lines:
        return [row for row in csv.DictReader(lines) if row["differentiable_inputs"]]


needs_table = pytest.mark.skipif(not TABLE.is_file(), reason="the table of differentiable operators is not shared here")


@needs_table
def test_the_table_is_whole() -> None:
    assert len(marked()) == 120


@needs_table
@pytest.mark.parametrize("row", marked(), ids=[row["op"] for row in marked()])
def test_marked_operators_have_a_gradient(row: dict[str, str]) -> None:
    for version in in_force("", row["op"]):
        assert gradient_is_given(lookup("", row["op"], version)), f"{row['op']}-{version}"


@needs_table
@pytest.mark.parametrize("row", marked(), ids=[row["op"] for row in marked()])
def test_every_marked_input_is_checked_by_a_case(row: dict[str, str]) -> None:
    name = row["op"]
    names = [item.name for item in onnx.defs.get_schema(name).inputs]
    rows = [case for case in all_cases() if (case.domain, case.operator) == ("", name)]
    if isinstance(rows[0].record.gradient, NotDifferentiable):
        assert rows[0].record.gradient.slope_is_zero
        return
    checked = {index for case in rows for index in case.differentiable_inputs()}
    wanted = [item for item in row["differentiable_inputs"].split() if (name, item) not in FIXED_INPUTS]
    assert {names.index(item) for item in wanted} <= checked
