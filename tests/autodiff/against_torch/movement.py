"""Gathering, scattering, padding and moving."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.autodiff.against_torch.row import Row, functional, row, torch, values

INDICES = np.array([[2, 0], [1, 1], [0, 2]])


def scattered(how: str, of_torch: str) -> Row:
    def function(x: Any, index: Any, updates: Any) -> Any:
        return x.scatter_reduce(1, index, updates, of_torch, include_self=True)

    return row("ScatterElements", [values(3, 4), INDICES, values(3, 2)], function, axis=1, reduction=how, note=how)


def padded(mode: str, of_torch: str) -> Row:
    def function(x: Any, pads: Any) -> Any:
        return functional.pad(x, (1, 2), mode=of_torch)

    return row("Pad", [values(2, 3, 5), [0, 0, 1, 0, 0, 2]], function, mode=mode, note=mode)


MOVEMENT = [
    row("Gather", [values(5, 3), np.array([[0, -1], [2, 2]])], lambda x, index: x[index], note="rows"),
    row("Gather", [values(2, 5), np.array([4, 0, 4])], lambda x, index: x.index_select(1, index), axis=1),
    row("GatherElements", [values(3, 4), INDICES], lambda x, index: x.gather(1, index), axis=1),
    row("GatherND", [values(3, 4), INDICES], lambda x, index: x[index[:, 0], index[:, 1]]),
    row("ScatterElements", [values(3, 4), np.array([[2, 0], [1, 3], [0, 2]]), values(3, 2)],
        lambda x, index, updates: x.scatter(1, index, updates), axis=1, note="none"),
    row("Scatter", [values(3, 4), np.array([[2, 0, 1]]), values(1, 3)],
        lambda x, index, updates: x.scatter(0, index, updates), version=9),
    scattered("add", "sum"),
    scattered("mul", "prod"),
    scattered("max", "amax"),
    row("ScatterND", [values(3, 4), INDICES, values(3)],
        lambda x, index, updates: x.index_put((index[:, 0], index[:, 1]), updates, accumulate=True), reduction="add"),
    padded("constant", "constant"),
    padded("reflect", "reflect"),
    padded("edge", "replicate"),
    padded("wrap", "circular"),
    row("Cast", [values(2, 3)], lambda x: x.to(torch.float32), to=1),
    row("CastLike", [values(2, 3), np.ones(1, np.float32)], lambda x, like: x.type_as(like), fixed=[1]),
    row("Compress", [values(3, 4), np.array([True, False, True, True])], lambda x, kept: x[:, kept], axis=1),
    row("Concat", [values(2, 3), values(2, 1)], lambda a, b: torch.cat((a, b), 1), axis=-1),
    row("Flatten", [values(2, 3, 2, 2)], torch.nn.Flatten()),
    row("Identity", [values(2, 3)], torch.clone),
    row("OneHot", [np.array([[1, -1], [0, 2]]), np.array(3), values(2)],
        lambda index, depth, pair: functional.one_hot(index % 3, 3) * (pair[1] - pair[0]) + pair[0]),
    row("Reshape", [values(2, 6), [3, -1, 2]], lambda x, shape: x.reshape(3, 2, 2)),
    row("Slice", [values(3, 7), [6, 0], [1, 3], [1, 0], [-2, 2]], lambda x, *_: x.flip(1)[0:3:2, 0:5:2]),
    row("Split", [values(2, 6), [1, 3, 2]], lambda x, sizes: x.split([1, 3, 2], 1), axis=1, outputs=3),
    row("Squeeze", [values(2, 1, 3), [-2]], lambda x, axes: x.squeeze(1)),
    row("Unsqueeze", [values(2, 3), [0, -1]], lambda x, axes: x[None, ..., None]),
    row("Transpose", [values(2, 3, 4)], lambda x: x.permute(2, 0, 1), perm=[2, 0, 1]),
    row("Trilu", [values(2, 3, 4), 1], lambda x, k: torch.triu(x, 1)),
    row("DepthToSpace", [values(2, 8, 2, 3)], lambda x: functional.pixel_shuffle(x, 2), blocksize=2, mode="CRD"),
    row("SpaceToDepth", [values(2, 1, 4, 6)], lambda x: functional.pixel_unshuffle(x, 2), blocksize=2),
    row("Tile", [values(2, 3), [2, 2]], lambda x, repeats: x.repeat(2, 2)),
    row("Expand", [values(3, 1), [2, 3, 4]], lambda x, shape: x.expand(2, 3, 4)),
]  # fmt: skip
