"""Resampling on oneDNN: its own primitive where that means the same elements, products elsewhere, or refusal."""

from __future__ import annotations

from typing import Any

import pytest

from tests.backends.parity import VARIANTS, Variant, assert_close, node_of, reference_of
from tests.support.case import Case, constant, uniform, variable
from toolkit.backends.onednn.backend import OneDNNBackend
from toolkit.backends.onednn.primitive import PrimitiveKernel
from toolkit.backends.onednn.resampling import LONGEST
from toolkit.backends.protocol import Resources, plain

BACKEND = OneDNNBackend()
IMAGE = uniform("N", 16, 6, 5)
CROP = {"coordinate_transformation_mode": "tf_crop_and_resize", "mode": "linear"}
REGION = [0.0, 0.0, 0.1, 0.2, 1.0, 1.0, 0.9, 0.8]


def resized(note: str, scales: list[float], roi: Any = None, x: Any = IMAGE, **attributes: Any) -> Case:
    """A Resize by scales."""
    return Case("Resize", [x, roi, constant(scales, "float32")], attributes, version=19, note=note)


def axis_by_axis(mode: str, **attributes: Any) -> dict[str, Any]:
    return {"mode": mode, "coordinate_transformation_mode": "asymmetric", **attributes}


OWN = [
    resized("doubled copies", [1, 1, 2, 2], mode="nearest"),
    resized("doubled copies from the left", [1, 1, 2, 2], **axis_by_axis("nearest", nearest_mode="floor")),
    resized("halfway between", [1, 1, 2, 3], mode="linear"),
    resized("fewer", [1, 1, 0.5, 0.6], mode="linear"),
    resized("a line", [1, 1, 2.5], x=uniform("N", 8, 4), mode="linear"),
    resized("a volume", [1, 1, 2, 1, 2], x=uniform("N", 8, 2, 3, 4), mode="linear"),
    resized("one element", [1, 1, 3, 3], x=uniform("N", 8, 1, 1), **axis_by_axis("linear")),
]
PRODUCTS = [
    resized("from the left", [1, 1, 2, 2], **axis_by_axis("linear")),
    resized("corners on corners", [1, 1, 2, 2], mode="linear", coordinate_transformation_mode="align_corners"),
    resized("cubic", [1, 1, 2, 0.5], mode="cubic"),
    resized("smoothed", [1, 1, 0.5, 0.4], mode="linear", antialias=1),
    resized("channels too", [1, 2, 2, 1], mode="linear"),
    resized("a known region", [1, 1, 2, 2], constant(REGION, "float32"), **CROP),
    resized("a table", [1, 2], x=uniform("N", 7), mode="linear"),
]
REFUSED = [
    resized("ties go down", [1, 1, 0.5, 0.5], mode="nearest"),
    resized("other copies", [1, 1, 2, 2], **axis_by_axis("nearest", nearest_mode="ceil")),
    resized("a computed region", [1, 1, 2, 2], variable(REGION, "float32"), **CROP),
    resized("beyond the source", [1, 1, 2, 2], constant([*REGION[:4], 1, 1, 1.5, 1.5], "float32"), **CROP),
    resized("nothing changes", [1, 1, 1, 1], mode="linear"),
    resized("whole numbers", [1, 1, 2, 2], x=uniform("N", 2, 4, 4, dtype="int32"), mode="linear"),
    resized("long", [1, 1, 1, 2], x=uniform(1, 1, 1, LONGEST + 1), **axis_by_axis("linear")),
]


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.note for case in cases])


@pytest.mark.parametrize("variant", VARIANTS, ids=[item.name for item in VARIANTS])
@named([*OWN, *PRODUCTS])
def test_values_are_those_of_the_reference_however_the_image_lies(case: Case, variant: Variant) -> None:
    rig, node = node_of(case, 2, variant)
    assert BACKEND.supports(node)
    assert_close(rig.run({"y": node.y})["y"], reference_of(case, 2)[0])


@pytest.mark.parametrize("is_own", [True, False])
def test_onednn_places_elements_itself_where_it_means_the_same(is_own: bool) -> None:
    for case in OWN if is_own else PRODUCTS:
        _, node = node_of(case, 2, VARIANTS[0])
        layouts = [None if item is None else plain(item.dtype, item.shape) for item in node.inputs]
        assert isinstance(BACKEND.lower(node, layouts, Resources(1)), PrimitiveKernel) is is_own, case.note


@named(REFUSED)
def test_what_is_left_to_numpy(case: Case) -> None:
    assert not BACKEND.supports(node_of(case, 1, VARIANTS[0])[1])
