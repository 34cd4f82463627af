"""What cuDNN's recurrent functions compute, on host memory, by its documentation: gates by number, directions, biases.

The weight space is one of its own making, with gaps, so that nobody gets by without asking where a weight lies. What
training keeps is a number, spent by the gradient of the data, which that of the weights must come behind.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from tests.cuda.recorder import Recorder
from toolkit.operators.standard.recurrent import CELLS
from toolkit.operators.standard.recurrent_cell import Cell

CUDNN_GATES = {0: "i", 1: "i", 2: "ifco", 3: "rzh"}  # by mode, in the order of the numbers
ONNX_GATES = {"i": "i", "ifco": "iofc", "rzh": "zrh"}
OPERATORS = {0: "RNN", 1: "RNN", 2: "LSTM", 3: "GRU"}
GAP = 3  # elements
WORKSPACE, RESERVE = 1040, 96  # bytes
SPENT = 1 << 20
Array = np.ndarray
Places = dict[tuple[int, int, str], tuple[int, tuple[int, ...]]]


class Recurrences(Recorder):
    """Executes recurrent calls when they are made."""

    ANSWERS = Recorder.ANSWERS | {
        "cudnnSetRNNDescriptor_v8": "_set_rnn_descriptor",
        "cudnnSetRNNDataDescriptor": "_set_rnn_data_descriptor",
        "cudnnSetTensorNdDescriptor": "_set_tensor_descriptor",
        "cudnnGetRNNWeightSpaceSize": "_get_rnn_weight_space_size",
        "cudnnGetRNNWeightParams": "_get_rnn_weight_params",
        "cudnnGetRNNTempSpaceSizes": "_get_rnn_temp_space_sizes",
        "cudnnRNNForward": "_rnn_forward",
        "cudnnRNNBackwardData_v8": "_rnn_backward_data",
        "cudnnRNNBackwardWeights_v8": "_rnn_backward_weights",
    }

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[tuple[list[Cell], Array, Array]] = []  # the cells that have run, what they read and wrote

    # descriptors ------------------------------------------------------------------------------------------------------

    def _set_rnn_descriptor(self, number: int, algorithm: int, *rest: Any) -> int:
        mode, bias, direction, linear, dtype, precision, math, size, hidden, projected, layers, dropout, flags = rest
        assert (algorithm, linear, dtype, precision) == (0, 0, 0, 0) and projected == hidden
        assert self.made[dropout].kind == "cudnnCreateDropoutDescriptor" and flags == 1
        values = {"mode": mode, "biases": bias, "directions": 1 + direction, "math": math, "size": size}
        self.made[number].attributes.update({**values, "hidden": hidden, "layers": layers})
        return 0

    def _set_rnn_data_descriptor(self, number: int, dtype: int, layout: int, *rest: Any) -> int:
        steps, batch, size, lengths, fill = rest
        assert (dtype, layout) == (0, 0) and ctypes.c_float.from_address(fill).value == 0
        own = list((ctypes.c_int * batch).from_address(lengths))
        assert all(0 < item <= steps for item in own)
        self.made[number].attributes.update(shape=[steps, batch, size], lengths=own)
        return 0

    def _set_tensor_descriptor(self, number: int, dtype: int, rank: int, shape: int, strides: int) -> int:
        sizes, steps = (list((ctypes.c_int * rank).from_address(place)) for place in (shape, strides))
        assert steps == [int(np.prod(sizes[axis + 1 :])) for axis in range(rank)]
        self.made[number].attributes["shape"] = sizes
        return 0

    # the weight space -------------------------------------------------------------------------------------------------

    def _places(self, number: int) -> tuple[Places, int]:
        """Offset in elements and shape of each part, by layer, number and what it is; and how many there are.

        Both directions of a layer count as layers.
        """
        told: dict[str, Any] = self.made[number].attributes
        gates, hidden, place = len(CUDNN_GATES[told["mode"]]), told["hidden"], GAP
        found: Places = {}
        for layer in reversed(range(told["layers"] * told["directions"])):
            width = told["size"] if layer < told["directions"] else told["directions"] * hidden
            for gate in reversed(range(2 * gates)):
                for part in ("bias", "matrix") if told["biases"] else ("matrix",):
                    shape: tuple[int, ...] = (
                        (hidden,) if part == "bias" else (hidden, width if gate < gates else hidden)
                    )
                    found[layer, gate, part] = place, shape
                    place += int(np.prod(shape)) + GAP
        return found, place

    def _get_rnn_weight_space_size(self, handle: int, number: int, out: int) -> int:
        self._write(out, 4 * self._places(number)[1])
        return 0

    def _get_rnn_weight_params(
        self, handle: int, number: int, layer: int, nbytes: int, space: int, gate: int, *out: int
    ) -> int:
        places, count = self._places(number)
        assert nbytes == 4 * count
        for part, address in (("matrix", out[1]), ("bias", out[3])):
            found = places.get((layer, gate, part))
            self._write(address, 0 if found is None else space + 4 * found[0])
        return 0

    def _weights(self, number: int, space: int, level: int) -> list[list[list[Array]]]:
        """Views of W, R and the two biases: a list for each direction of the gates in ONNX's order."""
        told: dict[str, Any] = self.made[number].attributes
        own, places = CUDNN_GATES[told["mode"]], self._places(number)[0]
        order = [own.index(letter) for letter in ONNX_GATES[own]]
        layers = range(level * told["directions"], (level + 1) * told["directions"])
        parts = [("matrix", 0), ("matrix", len(own)), ("bias", 0), ("bias", len(own))][: 4 if told["biases"] else 2]

        def view(place: int, shape: tuple[int, ...]) -> Array:
            return floats(space + 4 * place, shape)

        return [
            [[view(*places[layer, gate + more, part]) for gate in order] for layer in layers] for part, more in parts
        ]

    # passes -----------------------------------------------------------------------------------------------------------

    def _get_rnn_temp_space_sizes(self, handle: int, number: int, mode: int, x: int, work: int, reserve: int) -> int:
        self._write(work, WORKSPACE)
        self._write(reserve, RESERVE * mode)
        return 0

    def _rnn_forward(self, handle: int, number: int, mode: int, lengths: None, *rest: Any) -> int:
        of_x, x, of_y, y, of_h, h, last_h, of_c, c, last_c, nbytes, weights, *spaces = rest
        self._check(lengths, nbytes, number, spaces)
        told: dict[str, Any] = self.made[number].attributes
        state = self.made[of_h].attributes["shape"]
        assert state == self.made[of_c].attributes["shape"]
        given = [None if item is None else floats(item, state).copy() for item in (h, c)]
        own = np.array(self.made[of_x].attributes["lengths"])
        read = flowing = floats(x, self.made[of_x].attributes["shape"]).copy()
        cells: list[Cell] = []
        for level in range(told["layers"]):
            of_level = slice(level * told["directions"], (level + 1) * told["directions"])
            w, r, *biases = (
                np.stack(list(map(np.concatenate, part))) for part in self._weights(number, weights, level)
            )
            b = np.concatenate(biases, axis=1) if biases else None
            cell = _cell(told, flowing, w, r, b, own, [None if item is None else item[of_level] for item in given])
            result, *last = cell.run()
            flowing = np.moveaxis(result, 1, 2).reshape(*result.shape[:1], len(own), -1)
            for target, array in zip((last_h, last_c), last, strict=False):
                if target is not None:
                    floats(target, state)[of_level] = array
            cells.append(cell)
        floats(y, self.made[of_y].attributes["shape"])[...] = flowing
        if mode:
            self.passes.append((cells, read, flowing))
            ctypes.c_int64.from_address(spaces[3]).value = len(self.passes) - 1
        return 0

    def _rnn_backward_data(self, handle: int, number: int, lengths: None, *rest: Any) -> int:
        of_y, y, dy, of_x, dx, of_h, _, dh, first_dh, _, _, dc, first_dc, nbytes, _, *spaces = rest
        self._check(lengths, nbytes, number, spaces)
        token = ctypes.c_int64.from_address(spaces[3])
        cells, _, written = self.passes[token.value]
        shape, state = self.made[of_y].attributes["shape"], self.made[of_h].attributes["shape"]
        np.testing.assert_array_equal(floats(y, shape), written)
        flowing = floats(dy, shape)
        for level, cell in reversed(list(enumerate(cells))):
            of_level = slice(level * len(cell.w), (level + 1) * len(cell.w))
            seeds = [None if item is None else floats(item, state)[of_level] for item in (dh, dc)[: len(cell.carried)]]
            apart = flowing.reshape(*shape[:2], len(cell.w), -1)
            cell.back(np.moveaxis(apart, 2, 1), *seeds)
            flowing = cell.input_grad()
            for target, array in zip((first_dh, first_dc), cell.dinitial, strict=False):
                if target is not None:
                    floats(target, state)[of_level] = array
        if cells[0].over is not None:  # what lies behind the end of a short sequence is nowhere said
            told = np.array(self.made[of_x].attributes["lengths"])
            flowing[np.arange(len(flowing))[:, None] >= told] = np.nan
        floats(dx, self.made[of_x].attributes["shape"])[...] = flowing
        token.value += SPENT
        return 0

    def _rnn_backward_weights(self, handle: int, number: int, mode: int, lengths: None, *rest: Any) -> int:
        _, x, _, _, _, y, nbytes, weights, *spaces = rest
        self._check(lengths, nbytes, number, spaces)
        assert mode == 0
        cells, read, written = self.passes[ctypes.c_int64.from_address(spaces[3]).value - SPENT]
        np.testing.assert_array_equal(floats(x, read.shape), read)
        np.testing.assert_array_equal(floats(y, written.shape), written)
        for level, cell in enumerate(cells):
            biases = np.split(cell.bias_grad(), 2, axis=1) if cell.b is not None else []
            grads = [cell.weight_grad(), cell.recurrent_grad(), *biases]
            for views, grad in zip(self._weights(number, weights, level), grads, strict=True):
                for row, own in zip(views, grad, strict=True):
                    for view, part in zip(row, np.split(own, len(row)), strict=True):
                        view += part
        return 0

    def _check(self, lengths: None, nbytes: int, number: int, spaces: list[Any]) -> None:
        """The lengths are not told twice, the sizes are those that were answered; spoils the workspace."""
        assert lengths is None and nbytes == 4 * self._places(number)[1]
        assert spaces[0] == WORKSPACE and spaces[2] == (RESERVE if spaces[3] else 0)
        ctypes.memset(spaces[1], 0xFF, WORKSPACE)


def _cell(told: dict[str, Any], x: Array, w: Array, r: Array, b: Array | None, own: Array, states: Any) -> Cell:
    """The reference's cell; its gates are those of the documentation."""
    name = OPERATORS[told["mode"]]
    settings: dict[str, Any] = {"direction": ("forward", "bidirectional")[told["directions"] - 1], "keep": True}
    settings |= {"GRU": {"linear_before_reset": 1}, "LSTM": {}, "RNN": {}}[name]
    if told["mode"] == 0:
        settings["activations"] = ["Relu"] * told["directions"]
    make: Any = CELLS[name]
    return make(x, w, r, b, own, *([*states, None] if name == "LSTM" else states[:1]), **settings)


def floats(address: int, shape: Any) -> Array:
    """float32 over memory."""
    count = int(np.prod(shape))
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address)).reshape(shape)
