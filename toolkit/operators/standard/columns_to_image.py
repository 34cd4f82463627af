"""Col2Im, which adds up blocks where they overlap in an image, and its transpose Im2Col (toolkit domain).

Columns are (batch, channels * block elements, blocks); images (batch, channels, spatial...) of any number of axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit.operators.axes import known
from toolkit.operators.expression import TOOLKIT_DOMAIN, Expression, emit, indices, reshape
from toolkit.operators.precision import in_float32
from toolkit.operators.record import Call, TensorType, operator
from toolkit.operators.standard.windows import all_windows, cropped, explicit_geometry, output_sizes, padded, scattered

Shape = Sequence[int]


def _geometry(
    attributes: Mapping[str, Any], image_shape: Shape, block_shape: Shape
) -> tuple[dict[str, list[int]], tuple[int, ...]]:
    """Explicit strides, pads and dilations, and how many blocks there are per axis."""
    if len(image_shape) != len(block_shape):
        raise ValueError(f"image and block must have the same axes, got sizes {image_shape} and {block_shape}")
    found = explicit_geometry({**attributes, "auto_pad": "NOTSET"}, image_shape, block_shape)
    counts = output_sizes(image_shape, block_shape, found["strides"], found["pads"], found["dilations"])
    return found, counts


def _sizes(vector: np.ndarray) -> list[int]:
    return [int(size) for size in vector.reshape(-1)]


@in_float32
def col2im(columns: np.ndarray, image_shape: np.ndarray, block_shape: np.ndarray, **attributes: Any) -> np.ndarray:
    """ONNX Col2Im."""
    image, block = _sizes(image_shape), _sizes(block_shape)
    found, counts = _geometry(attributes, image, block)
    batch, channels = columns.shape[0], _channels(columns.shape, block, counts)
    rank, pads = len(image), found["pads"]
    around = [image[axis] + pads[axis] + pads[rank + axis] for axis in range(rank)]
    blocks = columns.reshape(batch, channels, *block, *counts)
    whole = scattered(blocks, around, found["strides"], found["dilations"])
    return np.ascontiguousarray(cropped(whole, pads, image), like=whole)


@in_float32
def im2col(image: np.ndarray, *, block_shape: Shape, **attributes: Any) -> np.ndarray:
    """Every block of the padded image as a column."""
    found, counts = _geometry(attributes, image.shape[2:], block_shape)
    windows = all_windows(padded(image, found["pads"]), block_shape, found["strides"], found["dilations"], counts)
    return windows.reshape(_columns_shape(image.shape, block_shape, counts))


def _channels(shape: Shape, block: Shape, counts: Shape) -> int:
    depth, places = int(np.prod(block)), int(np.prod(counts))
    if len(shape) != 3 or shape[1] % depth or shape[2] != places:
        raise ValueError(
            f"the columns must be (batch, channels * {depth}, {places}) for blocks of {list(block)}, got {tuple(shape)}"
        )
    return shape[1] // depth


def _columns_shape(shape: Shape, block: Shape, counts: Shape) -> tuple[int, ...]:
    return (shape[0], shape[1] * int(np.prod(block)), int(np.prod(counts)))


def _infer_image(
    types: Sequence[TensorType | None], attributes: dict[str, Any], constants: Sequence[np.ndarray | None]
) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    image, block = _sizes(known(constants[1], "image_shape")), _sizes(known(constants[2], "block_shape"))
    _, counts = _geometry(attributes, image, block)
    return [(dtype, (shape[0], _channels(shape, block, counts), *image))]


def _infer_columns(types: Sequence[TensorType | None], attributes: dict[str, Any], _: Any) -> list[TensorType]:
    assert types[0] is not None
    dtype, shape = types[0]
    _, counts = _geometry(attributes, shape[2:], attributes["block_shape"])
    return [(dtype, _columns_shape(shape, attributes["block_shape"], counts))]


def _image_gradient(call: Call, g: Expression) -> list[Expression | None]:
    block = call.inputs[2]
    assert block is not None
    sizes = _sizes(known(block.value, "block_shape"))
    explicit: dict[str, Any] = _geometry(call.attributes, g.shape[2:], sizes)[0]
    return [emit("Im2Col", g, domain=TOOLKIT_DOMAIN, block_shape=sizes, **explicit), None, None]


def _columns_gradient(call: Call, g: Expression) -> list[Expression | None]:
    attributes = {name: call.attributes[name] for name in ("strides", "pads", "dilations")}
    image, block = np.asarray(call.x.shape[2:], np.int64), np.asarray(call.attributes["block_shape"], np.int64)
    return [emit("Col2Im", g, image, block, **attributes)]


def _columns_expansion(call: Call) -> list[Expression | None]:
    """A Gather of every element of every block, from the padded image in one row."""
    x, block = call.x, call.attributes["block_shape"]
    found, counts = _geometry(call.attributes, x.shape[2:], block)
    rank, pads = len(block), found["pads"]
    around = emit("Pad", x, indices(x, [0, 0, *pads[:rank], 0, 0, *pads[rank:]]))
    places = np.arange(int(np.prod(around.shape[2:]))).reshape(1, 1, *around.shape[2:])
    wanted = all_windows(places, block, found["strides"], found["dilations"], counts).reshape(-1)
    flat = reshape(around, (*x.shape[:2], places.size))
    return [reshape(emit("Gather", flat, wanted, axis=2), _columns_shape(x.shape, block, counts))]


operator("Col2Im", since=18, reference=col2im, gradient=_image_gradient, infer=_infer_image)
operator(
    "Im2Col",
    domain=TOOLKIT_DOMAIN,
    reference=im2col,
    gradient=_columns_gradient,
    infer=_infer_columns,
    expansion=_columns_expansion,
)
