"""The backend ``cpu`` computes what the numpy references say: every case row, and more geometry, in many layouts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.cases import all_cases
from tests.support.case import BATCH_SIZES, Case, Given, constant, integers, spread, uniform
from tests.support.interpret import apply
from tests.support.rows import each_row
from toolkit.backends import onednn

if not onednn.available():
    pytest.skip("needs oneDNN on this machine", allow_module_level=True)

from tests.backends.parity import ONEDNN, VARIANTS, Rig, Variant, assert_close, node_of, reference_of
from toolkit.compiler.program import Node

ACTIVATIONS = {
    "": (),
    "Relu": (),
    "LeakyRelu": (0.1,),
    "Clip": (-0.5, 0.7),
    "Sigmoid": (),
    "Tanh": (),
    "Elu": (0.7,),
    "HardSigmoid": (0.2, 0.5),
    "HardSwish": (),
    "Gelu": (),
    "GeluTanh": (),
    "Silu": (),
    "Abs": (),
    "Exp": (),
}
EVERY_VARIANT = pytest.mark.parametrize("variant", VARIANTS, ids=[item.name for item in VARIANTS])


def own(operator: str, inputs: list[Given | None], attributes: Any, note: str, outputs: int = 1) -> Case:
    """A row for an operator of the toolkit's domain."""
    return Case(operator, inputs, attributes, version=1, domain="toolkit", outputs=outputs, note=note)


def convolution(
    note: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    *,
    strides: int = 1,
    dilations: int = 1,
    pads: tuple[int, ...] = (),
    group: int = 1,
) -> list[Case]:
    """A convolution with its bias, and both of its gradients. ``x`` has no batch axis."""
    rank = len(w) - 2
    room = pads or (0,) * 2 * rank
    geometry = {"strides": [strides] * rank, "dilations": [dilations] * rank, "pads": list(room), "group": group}
    y = [
        (x[1 + axis] + room[axis] + room[rank + axis] - dilations * (w[2 + axis] - 1) - 1) // strides + 1
        for axis in range(rank)
    ]
    weight, g = uniform(*w, low=-1, high=1), uniform("N", w[0], *y)
    return [
        own("FusedConv", [uniform("N", *x), weight, uniform(w[0])], {**geometry, "activation": ""}, note),
        own("FusedConv", [uniform("N", *x), weight], {**geometry, "activation": "Relu"}, f"{note} no bias"),
        own("ConvInputGradient", [g, weight], lambda batch: {**geometry, "input_shape": [batch, *x]}, note),
        own(
            "ConvWeightGradient",
            [uniform("N", *x), g],
            {**geometry, "weight_shape": list(w), "has_bias": 1},
            note,
            outputs=2,
        ),
    ]


def fused(activation: str, residual: Given) -> Case:
    """A convolution with bias, residual and activation."""
    numbers = dict(zip(("activation_alpha", "activation_beta"), ACTIVATIONS[activation], strict=False))
    attributes = {"strides": [1, 1], "dilations": [1, 1], "pads": [1] * 4, "group": 1, "activation": activation}
    inputs = [uniform("N", 3, 6, 5), uniform(20, 3, 3, 3, low=-0.5, high=0.5), uniform(20), residual]
    return own("FusedConv", inputs, {**attributes, **numbers}, f"residual {activation or 'plain'}")


def product(activation: str) -> Case:
    """A matrix product with everything."""
    numbers = dict(zip(("activation_alpha", "activation_beta"), ACTIVATIONS[activation], strict=False))
    inputs = [uniform("N", 4, 8), uniform(8, 12, low=-0.5, high=0.5), uniform(12), uniform("N", 4, 12)]
    return own("FusedMatMul", inputs, {"alpha": 0.5, "activation": activation, **numbers}, activation or "plain")


def pooling(operator: str, note: str, x: tuple[int, ...], **attributes: Any) -> Case:
    """A pooling of a tensor of shape (N, *x)."""
    return Case(operator, [spread("N", *x)], attributes, note=note)


CONVOLUTIONS = [
    *convolution("one axis", (5, 12), (6, 5, 3), pads=(1, 2)),
    *convolution("three axes", (3, 5, 6, 4), (7, 3, 3, 2, 1), pads=(1, 0, 0, 1, 1, 0)),
    *convolution("wide", (32, 7, 7), (48, 32, 3, 3), pads=(1, 1, 1, 1)),
    *convolution("pointwise strided", (16, 8, 8), (32, 16, 1, 1), strides=2),
    *convolution("stem", (3, 15, 15), (16, 3, 7, 7), strides=2, pads=(3, 3, 3, 3)),
    *convolution("dilated", (8, 11, 12), (16, 8, 3, 3), dilations=2, pads=(2, 1, 2, 0)),
    *convolution("depthwise", (20, 8, 9), (20, 1, 3, 3), group=20, pads=(1, 1, 1, 1)),
    *convolution("depthwise wide", (32, 8, 9), (32, 1, 5, 5), group=32, strides=2, pads=(2, 2, 2, 2)),
    *convolution("depthwise twice as many", (6, 8, 8), (12, 1, 3, 3), group=6),
    *convolution("groups", (12, 6, 7), (18, 4, 3, 3), group=3, pads=(1, 0, 1, 0)),
    *convolution("groups of 16", (32, 6, 6), (32, 16, 3, 3), group=2, pads=(1, 1, 1, 1)),
    *convolution("groups on one axis", (6, 9), (9, 2, 3), group=3, strides=2),
]
FUSED = [
    *(fused(activation, uniform("N", 20, 6, 5)) for activation in ACTIVATIONS),
    *map(product, ACTIVATIONS),
]
PLANE, WIDE = (5, 9, 8), (32, 7, 7)
POOLINGS = [
    pooling("MaxPool", "wide", WIDE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    pooling("MaxPool", "uneven pads", PLANE, kernel_shape=[3, 4], strides=[2, 3], pads=[0, 1, 2, 3]),
    pooling("MaxPool", "ceil", PLANE, kernel_shape=[2, 3], strides=[2, 3], pads=[0, 1, 1, 0], ceil_mode=1),
    pooling("MaxPool", "ceil dilated", PLANE, kernel_shape=[2, 2], strides=[3, 2], dilations=[3, 2], ceil_mode=1),
    pooling("MaxPool", "dilated one axis", (4, 15), kernel_shape=[3], dilations=[2], pads=[1, 2]),
    pooling("MaxPool", "three axes", (18, 5, 6, 7), kernel_shape=[2, 3, 2], strides=[2, 2, 3], pads=[1, 0, 1, 0, 1, 0]),
    pooling("AveragePool", "wide", WIDE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    pooling("AveragePool", "uneven pads", PLANE, kernel_shape=[3, 4], strides=[2, 3], pads=[0, 1, 2, 3]),
    pooling(
        "AveragePool",
        "pads counted",
        PLANE,
        kernel_shape=[3, 4],
        strides=[2, 3],
        pads=[0, 1, 2, 3],
        count_include_pad=1,
    ),
    pooling("AveragePool", "ceil", PLANE, kernel_shape=[2, 3], strides=[2, 3], pads=[0, 1, 1, 0], ceil_mode=1),
    pooling("AveragePool", "dilated", PLANE, kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 0, 2]),
    pooling("AveragePool", "rows left over", PLANE, kernel_shape=[2, 2], strides=[4, 3], count_include_pad=1),
    pooling("AveragePool", "same upper", PLANE, kernel_shape=[3, 4], strides=[2, 3], auto_pad="SAME_UPPER"),
    pooling(
        "AveragePool", "same lower counted", PLANE, kernel_shape=[3, 3], auto_pad="SAME_LOWER", count_include_pad=1
    ),
    pooling("AveragePool", "one axis", (4, 15), kernel_shape=[4], strides=[3], pads=[1, 2]),
    pooling("AveragePool", "three axes", (16, 5, 6, 7), kernel_shape=[2, 3, 2], pads=[1, 0, 1, 0, 1, 0]),
    pooling("GlobalAveragePool", "wide", WIDE),
    pooling("GlobalMaxPool", "wide", WIDE),
]
BOXES: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "wide": (WIDE, {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "uneven": (PLANE, {"kernel_shape": [3, 4], "strides": [2, 3], "pads": [0, 1, 2, 3]}),
    "ceil": (PLANE, {"kernel_shape": [2, 3], "strides": [2, 3], "pads": [0, 1, 1, 0], "ceil_mode": 1}),
    "dilated": (PLANE, {"kernel_shape": [2, 2], "strides": [1, 2], "pads": [1, 0, 1, 0], "dilations": [2, 3]}),
    "one axis": ((6, 11), {"kernel_shape": [3], "strides": [2], "pads": [1, 1]}),
    "three axes": ((16, 5, 4, 6), {"kernel_shape": [2, 2, 3], "strides": [2, 1, 3], "pads": [0, 1, 0, 1, 0, 0]}),
    "large window": ((3, 20, 20), {"kernel_shape": [17, 18], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
}


def complete(box: dict[str, Any]) -> dict[str, Any]:
    """The box with every attribute of a pooling written out."""
    return {"dilations": [1] * len(box["kernel_shape"]), "ceil_mode": 0, **box}


def mean_gradients() -> list[Case]:
    """AveragePoolGradient on every box, pads counted or not."""
    found = []
    for name, (shape, box) in BOXES.items():
        for counted in (0, 1):
            attributes = {**complete(box), "count_include_pad": counted}
            y = apply("", "AveragePool", 19, [np.zeros((1, *shape), np.float32)], box)[0].shape[1:]
            found.append(
                own(
                    "AveragePoolGradient",
                    [uniform("N", *y)],
                    lambda batch, attributes=attributes, shape=shape: {**attributes, "input_shape": [batch, *shape]},
                    f"{name} {counted}",
                )
            )
    return found


def softmaxes() -> list[Case]:
    """Both softmaxes on every axis, of new and old versions, and their gradients."""
    shapes = (("N", 6), ("N", 5, 7), ("N", 3, 4, 5))
    return [
        *(
            Case(operator, [uniform(*shape, high=5)], {"axis": axis}, version=version, note=f"{len(shape)} axis {axis}")
            for operator in ("Softmax", "LogSoftmax")
            for version in (1, 11, 13)
            for shape in shapes
            for axis in range(len(shape))
        ),
        *(
            own(
                "SoftmaxGradient", [uniform(*shape), uniform(*shape, low=0.1, high=0.9)], {"axis": axis, "log": log}, ""
            )
            for log in (0, 1)
            for shape in shapes
            for axis in range(-1, len(shape) - 1)
        ),
    ]


OTHERS = [
    *mean_gradients(),
    *softmaxes(),
    *(
        Case("ReduceSum", [uniform(*shape), constant(axes)], {"keepdims": keep}, version=13, note=f"{shape} {axes}")
        for shape, axes in ((("N", 700, 20), [0]), (("N", 700, 20), [1, 0]), (("N", 20, 15, 16), [0, -3, 2]))
        for keep in (0, 1)
    ),
    *(
        Case("Transpose", [uniform("N", *shape)], {"perm": perm} if perm else {}, note=f"{shape} {perm}")
        for shape, perm in (
            ((4096,), None),
            ((64, 65), [2, 0, 1]),
            ((16, 17, 18), [0, 2, 3, 1]),
            ((16, 17, 18), [0, 3, 1, 2]),
            ((5, 6, 7, 30), [3, 0, 4, 2, 1]),
            ((5, 6, 7, 4, 8), None),
        )
    ),
    *(
        Case("LayerNormalization", [uniform(*shape), uniform(16), shift], {"epsilon": 1e-3}, outputs=outputs, note=note)
        for shape in (("N", 16), ("N", 5, 16), ("N", 2, 3, 2, 16))
        for shift in (uniform(16), None)
        for outputs, note in ((1, "inference"), (3, "statistics"))
    ),
    Case("BatchNormalization", [uniform("N", 20, 4, 5), *[uniform(20, low=0.5)] * 4], note="wide"),
    Case("Sum", [uniform("N", 20, 4, 5)] * 3, note="three"),
    *(
        Case(name, [uniform("N", 20, 4, 5), uniform(20, 1, 1)], note="channels")
        for name in ("Add", "Mul", "Sub", "Div")
    ),
    *(Case(name, [uniform("N", 20, 4, 5, low=0.5)] * 2, note="equal") for name in ("Add", "Mul", "Sub", "Div", "Max")),
    *(Case(name, [uniform("N", 20, 4, 5), constant(1.5)], note="number") for name in ("Add", "Mul", "Sub")),
    Case("Div", [constant(1.5), uniform("N", 20, 4, 5, low=0.5)], note="number first"),
]
EXTRA = [*CONVOLUTIONS, *FUSED, *POOLINGS, *OTHERS]


def met(case: Case, variant: Variant, batch: int) -> tuple[Rig, Node] | None:
    """The case as a program, where ``cpu`` takes it; updates of constants and random values are no cases for it."""
    if case.is_data_dependent or case.record.is_random or (variant.knows_weights and case.operator.endswith("Update")):
        return None
    rig, node = node_of(case, batch, variant)
    return (rig, node) if ONEDNN.supports(node) else None


def is_met(case: Case, variant: Variant, batch: int) -> bool:
    return met(case, variant, batch) is not None


ROWS = [case for case in (*all_cases(), *EXTRA) if is_met(case, VARIANTS[0], 3)]


@each_row(ROWS, BATCH_SIZES, VARIANTS)
def test_cpu_computes_what_the_reference_says_of_what_it_takes(case: Case, batch: int, variant: Variant) -> None:
    """The mask of a normalisation is oneDNN's own business."""
    taken = met(case, variant, batch)
    if taken is None:
        pytest.skip("placed on numpy")
    rig, node = taken
    private = 5 if case.operator == "BatchNormalizationTraining" else None
    wanted = {str(index): item for index, item in enumerate(node.outputs) if item is not None and index != private}
    found = rig.run(wanted)
    expected = reference_of(case, batch)
    for name, array in found.items():
        assert_close(array, expected[int(name)], max(case.tolerance, 2e-5), f"output {name}")


def test_most_rows_are_met() -> None:
    assert sum(case in ROWS for case in all_cases()) >= 110


def test_convolutions_products_and_maxima_are_always_met() -> None:
    cases = [*CONVOLUTIONS, *FUSED, *(case for case in POOLINGS if case.operator != "AveragePool")]
    assert [case.id for case in cases for variant in VARIANTS if not is_met(case, variant, 3)] == []


IMAGE, VECTOR, STATISTIC = uniform("N", 3, 4), uniform(3, low=0.5), uniform("N", 3, 1, low=0.5)
NORMALISATIONS = [IMAGE, VECTOR, VECTOR, VECTOR, VECTOR]
LEFT_TO_NUMPY = [
    *(Case(name, [IMAGE], {"axis": 1}, version=11, note="over two axes as one") for name in ("Softmax", "LogSoftmax")),
    Case("BatchNormalization", [IMAGE, *[uniform(3, 4, low=0.5)] * 4], {"spatial": 0}, version=7, note="per element"),
    own(
        "BatchNormalizationGradient",
        [IMAGE, *NORMALISATIONS[:4], integers("N", 3, 4, low=0, high=2, dtype="uint8")],
        {"epsilon": 1e-3, "activation": "Relu"},
        "a mask that oneDNN did not make",
        outputs=3,
    ),
    own("BatchNormalizationTraining", [*NORMALISATIONS, IMAGE], {"epsilon": 1e-3}, "a residual", outputs=5),
    own(
        "BatchNormalizationGradient",
        [IMAGE, *NORMALISATIONS[:4], None, IMAGE],
        {"epsilon": 1e-3},
        "more of the gradient",
        outputs=4,
    ),
    Case("Clip", [IMAGE, constant(1.0), constant(-1.0)], note="bounds that cross"),
    Case("LayerNormalization", [IMAGE, uniform(1), uniform(4)], note="a scale that broadcasts"),
    Case("LayerNormalization", [IMAGE, uniform(4), uniform(3, 4)], note="a shift of another shape"),
    own("LayerNormalizationGradient", [IMAGE, IMAGE, uniform(1), STATISTIC, STATISTIC], {}, "broadcast", outputs=3),
    Case("LayerNormalization", [IMAGE, uniform(4)], outputs=2, note="a mean without a deviation"),
]


@each_row(LEFT_TO_NUMPY)
def test_what_onednn_would_get_wrong_is_left_to_numpy(case: Case) -> None:
    assert not is_met(case, VARIANTS[0], 3)


def test_normalisation_by_the_batch_is_left_to_numpy_whatever_is_asked_of_it() -> None:
    rig = Rig(VARIANTS[0])
    operands = [rig.given(np.ones(shape, np.float32)) for shape in ((2, 3, 4), *[(3,)] * 4)]
    for training, met in ((0, True), (1, False)):
        names = ["y", "", ""] if training else ["y"]
        attributes = {"training_mode": training}
        node = rig.program.append("BatchNormalization", operands, attributes, version=15, outputs=names)
        assert ONEDNN.supports(node) is met


@EVERY_VARIANT
@pytest.mark.parametrize("name", BOXES)
def test_maximum_and_its_gradient(name: str, variant: Variant) -> None:
    shape, box = BOXES[name]
    attributes, random = complete(box), np.random.default_rng(0)
    x = random.permutation(np.arange(3 * np.prod(shape))).reshape(3, *shape).astype(np.float32)
    y, selected = apply("toolkit", "MaxPoolTraining", 1, [x], attributes)
    g = random.standard_normal(y.shape).astype(np.float32)
    rig = Rig(variant)
    forward = rig.program.append("MaxPoolTraining", [rig.given(x)], attributes, domain="toolkit", outputs=2)
    backward = {**attributes, "input_shape": list(x.shape)}
    gradient = rig.program.append("MaxPoolGradient", [rig.given(g), forward.outputs[1]], backward, domain="toolkit")
    assert forward.outputs[1] is not None
    found = rig.run({"y": forward.y, "selected": forward.outputs[1], "dx": gradient.y})
    assert_close(found["y"], y)
    np.testing.assert_array_equal(found["selected"], selected)
    assert_close(found["dx"], apply("toolkit", "MaxPoolGradient", 1, [g, selected], backward)[0])


@EVERY_VARIANT
@pytest.mark.parametrize("activation", ["", "Relu"])
@pytest.mark.parametrize("shape", [(3, 4), (16, 5, 5), (20, 4, 3), (32, 3, 2, 4)], ids=str)
def test_batch_normalization_and_its_gradient(shape: tuple[int, ...], activation: str, variant: Variant) -> None:
    random = np.random.default_rng(0)
    x, g = (random.standard_normal((4, *shape)).astype(np.float32) for _ in range(2))
    vectors = [random.uniform(0.5, 1.5, shape[0]).astype(np.float32) for _ in range(4)]
    training = {"epsilon": 1e-3, "momentum": 0.8, "activation": activation}
    backward = {"epsilon": 1e-3, "activation": activation}
    count = 6 if activation else 5
    expected = apply("toolkit", "BatchNormalizationTraining", 1, [x, *vectors], training)[:count]
    saved = [expected[3], expected[4], *expected[5:]]
    slopes = apply("toolkit", "BatchNormalizationGradient", 1, [g, x, vectors[0], *saved], backward)

    rig = Rig(variant)
    source, scale = rig.given(x), rig.given(vectors[0])
    operands = [source, scale, *map(rig.given, vectors[1:])]
    forward = rig.program.append("BatchNormalizationTraining", operands, training, domain="toolkit", outputs=count)
    operands = [rig.given(g), source, scale, *[item for item in forward.outputs[3:] if item is not None]]
    gradient = rig.program.append("BatchNormalizationGradient", operands, backward, domain="toolkit", outputs=3)
    results = {f"forward {index}": item for index, item in enumerate(forward.outputs[:5]) if item is not None}
    results |= {f"backward {index}": item for index, item in enumerate(gradient.outputs) if item is not None}
    found = rig.run(results)
    for index, array in enumerate(expected[:5]):
        assert_close(found[f"forward {index}"], array, 2e-5, f"output {index}")
    for index, array in enumerate(slopes[:3]):
        assert_close(found[f"backward {index}"], array, 1e-4, f"gradient {index}")
