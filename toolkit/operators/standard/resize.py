"""Resize and Upsample in all their versions; values and gradients are those of an Interpolation (``resampling``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from toolkit.operators.axes import known, normalised
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.interpolation import LEGACY_NEAREST, Sampling
from toolkit.operators.standard.resampling import CROPPING, SAMPLING, interpolation, resized_shape

Shape = Sequence[int]
Vector = np.ndarray | Sequence[float] | None
LEGACY = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": LEGACY_NEAREST}
POLICIES: dict[str, Callable[[np.ndarray], Any]] = {"not_larger": np.min, "not_smaller": np.max}


def canonical_resize(shape: Shape, attributes: Mapping[str, Any], scales: Vector, sizes: Vector) -> dict[str, Any]:
    """The attributes of an Interpolation for concrete inputs of a Resize. Raises ``ValueError`` where they do not fit.

    ``scales`` or ``sizes`` may be ``None`` or empty; exactly one of them counts.
    """
    rank = len(shape)
    axes = list(range(rank)) if attributes.get("axes") is None else list(normalised(attributes["axes"], rank))
    given = [shape[axis] for axis in axes]
    wanted = np.asarray([] if scales is None else scales, np.float32).reshape(-1)
    targets = np.asarray([] if sizes is None else sizes, np.int64).reshape(-1)
    if (wanted.size > 0) == (targets.size > 0) and axes:
        raise ValueError("exactly one of scales and sizes must be given")
    if max(wanted.size, targets.size) != len(axes):
        raise ValueError(f"scales or sizes must hold {len(axes)} numbers, got {max(wanted.size, targets.size)}")
    if targets.size:
        wanted, targets = _towards(given, targets, attributes.get("keep_aspect_ratio_policy", "stretch"))
    elif not (wanted > 0).all():
        raise ValueError(f"scales must be positive, got {wanted.tolist()}")
    else:
        targets = np.floor(np.asarray(given, np.float32) * wanted).astype(np.int64)
    if 0 in [size for size, target in zip(given, targets, strict=True) if target]:
        raise ValueError(f"axes without elements cannot be resized, got {tuple(shape)}")
    sampling = Sampling(**{name: attributes[name] for name in SAMPLING if name in attributes})
    return {
        **asdict(sampling),
        "extrapolation_value": float(attributes.get("extrapolation_value", 0.0)),
        "axes": axes,
        "scales": wanted.tolist(),
        "sizes": targets.tolist(),
    }


def _towards(given: Shape, targets: np.ndarray, policy: str) -> tuple[np.ndarray, np.ndarray]:
    """Scales and final sizes for the wanted ``targets``; a policy other than stretch keeps proportions."""
    if (targets < 0).any():
        raise ValueError(f"sizes must be 0 or more, got {targets.tolist()}")
    scales = targets / np.maximum(np.asarray(given), 1)
    if policy == "stretch":
        return scales.astype(np.float32), targets
    if policy not in POLICIES:
        raise ValueError(f"keep_aspect_ratio_policy must be stretch, not_larger or not_smaller, got {policy!r}")
    scale = POLICIES[policy](scales)
    return np.full(len(given), scale, np.float32), np.floor(np.asarray(given) * scale + 0.5).astype(np.int64)


@in_float32
def resize(
    x: np.ndarray,
    roi: np.ndarray | None = None,
    scales: np.ndarray | None = None,
    sizes: np.ndarray | None = None,
    **attributes: Any,
) -> np.ndarray:
    """Resize since version 11; the defaults of its attributes are those of ``canonical_resize``."""
    found: np.ndarray = interpolation(x, roi, **canonical_resize(x.shape, attributes, scales, sizes))
    return found


def _legacy_attributes(mode: str) -> dict[str, Any]:
    return {**LEGACY, "mode": "linear" if mode == "bilinear" else mode}


def resize_by(x: np.ndarray, scales: np.ndarray, *, mode: str = "nearest") -> np.ndarray:
    """Resize-10 and Upsample-9: asymmetric coordinates, scales as an input."""
    found: np.ndarray = interpolation(x, **canonical_resize(x.shape, _legacy_attributes(mode), scales, None))
    return found


def upsample(x: np.ndarray, *, scales: Sequence[float], mode: str = "nearest") -> np.ndarray:
    """Upsample-7: scales as an attribute."""
    return resize_by(x, np.asarray(scales, np.float32), mode=mode)


def upsample_image(x: np.ndarray, *, height_scale: float, width_scale: float, mode: str = "nearest") -> np.ndarray:
    """Upsample-1: (batch, channels, height, width) only."""
    return resize_by(x, _image_scales(x.shape, height_scale, width_scale), mode=mode)


def _image_scales(shape: Shape, height_scale: float, width_scale: float) -> np.ndarray:
    if len(shape) != 4:
        raise ValueError(f"the input must be (batch, channels, height, width), got {len(shape)} axes")
    return np.asarray([1, 1, height_scale, width_scale], np.float32)


Content = Sequence[np.ndarray | None]


def canonical_resampling(
    version: int, types: Sequence[TensorType | None], attributes: Mapping[str, Any], content: Content
) -> dict[str, Any]:
    """The canonical attributes of a node of one of the five forms, from the constant content of its inputs."""
    assert types[0] is not None
    shape = types[0][1]
    if version >= 11:
        vectors: list[Vector] = [None, None]
        for place, name in enumerate(("scales", "sizes")):
            kind = types[2 + place] if 2 + place < len(types) else None
            if kind is not None and 0 not in kind[1]:
                vectors[place] = known(content[2 + place], name)
        return canonical_resize(shape, attributes, *vectors)
    legacy = _legacy_attributes(attributes.get("mode", "nearest"))
    if version >= 9:
        return canonical_resize(shape, legacy, known(content[1], "scales"), None)
    if version >= 7:
        return canonical_resize(shape, legacy, attributes["scales"], None)
    return canonical_resize(
        shape, legacy, _image_scales(shape, attributes["height_scale"], attributes["width_scale"]), None
    )


def _inference(version: int) -> Callable[..., list[TensorType]]:
    def infer(types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Content) -> list[TensorType]:
        assert types[0] is not None
        return [(types[0][0], resized_shape(types[0][1], canonical_resampling(version, types, attributes, constants)))]

    return infer


def _canonical_call(call: Call, version: int) -> dict[str, Any]:
    types = [None if item is None else (item.dtype, item.shape) for item in call.inputs]
    content = [None if item is None else item.value for item in call.inputs]
    return canonical_resampling(version, types, call.attributes, content)


def as_interpolation(call: Call) -> Expression:
    """The same values as an Interpolation, for forms that later opsets lack."""
    version = max(since for since in (1, 7, 9, 11) if since <= call.version)
    made: Expression = emit("Interpolation", call.x, domain=TOOLKIT_DOMAIN, **_canonical_call(call, version))
    return made


def _gradient(version: int) -> Callable[..., Sequence[Expression | None]]:
    def gradient(call: Call, g: Expression) -> list[Expression | None]:
        canonical = _canonical_call(call, version)
        cropped = canonical["coordinate_transformation_mode"] == CROPPING
        roi = call.inputs[1] if cropped else None
        made = {**canonical, "input_shape": list(call.x.shape)}
        dx = emit("InterpolationGradient", g, roi, domain=TOOLKIT_DOMAIN, **made)
        return [dx, *[None] * (len(call.inputs) - 1)]

    return gradient


for _name, _since, _reference in (
    ("Upsample", 1, upsample_image),
    ("Upsample", 7, upsample),
    ("Upsample", 9, resize_by),
    ("Resize", 10, resize_by),
    ("Resize", 11, resize),
):
    operator(
        _name,
        since=_since,
        reference=_reference,
        gradient=_gradient(_since),
        infer=_inference(_since),
        host_inputs=(1, 2, 3),
    )
