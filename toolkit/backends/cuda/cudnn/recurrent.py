"""Recurrent layers as cuDNN's functions take them: descriptors, the space of their weights, sizes of scratch memory.

A descriptor of sequences holds the batch and the length of each sequence, so there is one for each of them; a context
keeps those that it has asked for. In the weight space every gate has its matrices and biases at a place of its own,
which only cuDNN knows.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from toolkit.backends.cuda.cudnn.graph_constants import DataType
from toolkit.backends.cuda.cudnn.legacy import ZERO, Legacy, integers, tensor
from toolkit.backends.cuda.cudnn.legacy_constants import (
    PADDED_SEQUENCES,
    BiasMode,
    DirectionMode,
    ForwardMode,
    InputMode,
    MathType,
    RecurrentAlgorithm,
    RecurrentMode,
    SequenceLayout,
)
from toolkit.backends.cuda.cudnn.session import Session, session_of
from toolkit.backends.protocol import Resources

ELEMENT_BYTES = 4  # everything is float32
GATES = {RecurrentMode.LSTM: 4, RecurrentMode.GRU: 3, RecurrentMode.RNN_TANH: 1, RecurrentMode.RNN_RELU: 1}
SOMEWHERE = 1 << 32  # an address to ask places of weights by: cuDNN adds to it, and reads nothing there


@dataclass(frozen=True, slots=True)
class Cell:
    """What is true of a layer whatever the batch: its cell, sizes and arithmetic (``strict``: no TF32).

    ``depth``: how many layers stand on each other, of which all but the first read the one below.
    """

    mode: RecurrentMode
    directions: int
    size: int
    hidden: int
    has_bias: bool
    strict: bool
    depth: int = 1

    def width(self, level: int) -> int:
        """The size of what the layer at a level reads."""
        return self.directions * self.hidden if level else self.size


@dataclass(frozen=True, slots=True)
class Sequences:
    """A batch of sequences in a tensor of so many ``steps``; how long each is."""

    steps: int
    lengths: tuple[int, ...]


class Layer:
    """A cell's descriptor, and where in the weight space its weights lie.

    ``matrices`` and ``biases`` are offsets in elements, by level and direction, and by cuDNN's number: first those of
    all gates beside the input, then those beside the state.
    """

    def __init__(self, session: Session, cell: Cell) -> None:
        functions, handle = session.functions, session.handle
        self.session, self.cell = session, cell
        self._dropout = Legacy(functions, "Dropout")
        functions.SetDropoutDescriptor(self._dropout.handle, handle, 0.0, None, 0, 0)
        self.descriptor = Legacy(functions, "RNN")
        functions.SetRNNDescriptor_v8(
            self.descriptor.handle,
            RecurrentAlgorithm.STANDARD,
            cell.mode,
            BiasMode.DOUBLE_BIAS if cell.has_bias else BiasMode.NO_BIAS,
            DirectionMode.BIDIRECTIONAL if cell.directions == 2 else DirectionMode.UNIDIRECTIONAL,
            InputMode.LINEAR_INPUT,
            DataType.FLOAT,
            DataType.FLOAT,
            MathType.FMA_MATH if cell.strict else MathType.DEFAULT_MATH,
            cell.size,
            cell.hidden,
            cell.hidden,  # of a projection, which there is not where this is the hidden size
            cell.depth,
            self._dropout.handle,
            PADDED_SEQUENCES,
        )
        found = ctypes.c_size_t()
        functions.GetRNNWeightSpaceSize(handle, self.descriptor.handle, ctypes.byref(found))
        self.weight_nbytes = found.value
        numbers = range(2 * GATES[cell.mode])
        count = cell.depth * cell.directions
        places = [[self._place(number, gate) for gate in numbers] for number in range(count)]
        self.matrices = [[matrix for matrix, _ in row] for row in places]
        self.biases = [[bias for _, bias in row] for row in places]

    def _place(self, layer: int, number: int) -> tuple[int, int]:
        """Where a matrix begins, and its bias; the latter has no meaning where the cell has none."""
        functions = self.session.functions
        shapes = [Legacy(functions), Legacy(functions)]
        found = [ctypes.c_void_p(), ctypes.c_void_p()]
        functions.GetRNNWeightParams(
            self.session.handle,
            self.descriptor.handle,
            layer,
            self.weight_nbytes,
            SOMEWHERE,
            number,
            shapes[0].handle,
            ctypes.byref(found[0]),
            shapes[1].handle,
            ctypes.byref(found[1]),
        )
        matrix, bias = ((item.value or SOMEWHERE) - SOMEWHERE for item in found)
        return matrix // ELEMENT_BYTES, bias // ELEMENT_BYTES


class Batch:
    """A layer on a batch of sequences: the descriptors of its input, output and states, and its scratch memory."""

    def __init__(self, layer: Layer, sequences: Sequences) -> None:
        self.layer, self.sequences, cell = layer, sequences, layer.cell
        self.x = self._data(cell.size)
        self.y = self._data(cell.directions * cell.hidden)
        functions = layer.session.functions
        states = cell.depth * cell.directions, len(sequences.lengths), cell.hidden
        self.state = tensor(functions, DataType.FLOAT, states)

    def _data(self, size: int) -> Legacy:
        """Sequences of vectors; what an output writes behind the end of a short one is 0."""
        functions, lengths = self.layer.session.functions, self.sequences.lengths
        made, layout = Legacy(functions, "RNNData"), SequenceLayout.SEQ_MAJOR_UNPACKED
        sizes = self.sequences.steps, len(lengths), size
        functions.SetRNNDataDescriptor(
            made.handle, DataType.FLOAT, layout, *sizes, integers(lengths), ctypes.byref(ZERO)
        )
        return made

    def scratch(self, mode: ForwardMode) -> tuple[int, int]:
        """Bytes of scratch memory, which passes forward and back need, and of what training keeps between them."""
        session, found = self.layer.session, [ctypes.c_size_t(), ctypes.c_size_t()]
        session.functions.GetRNNTempSpaceSizes(
            session.handle, self.layer.descriptor.handle, mode, self.x.handle, *map(ctypes.byref, found)
        )
        return found[0].value, found[1].value


class Layers:
    """The layers and batches of one context."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._layers: dict[Cell, Layer] = {}
        self._batches: dict[tuple[Cell, Sequences], Batch] = {}

    def layer(self, cell: Cell) -> Layer:
        """The layer with such a cell."""
        if cell not in self._layers:
            self._layers[cell] = Layer(self._session, cell)
        return self._layers[cell]

    def batch(self, cell: Cell, sequences: Sequences) -> Batch:
        """The layer with such a cell on such a batch."""
        key = cell, sequences
        if key not in self._batches:
            self._batches[key] = Batch(self.layer(cell), sequences)
        return self._batches[key]


def layers_of(resources: Resources) -> Layers:
    """The layers of a context."""
    return resources.own("cuda: recurrent layers", lambda: Layers(session_of(resources)))
