"""Programs as quantisers write them: QuantizeLinear and DequantizeLinear around products of known integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.compiler.program import Program, Variable
from toolkit.graph.parameter import Parameter

FLOAT32 = np.dtype(np.float32)
VERSION = 13


class Writer:
    """Appends to ``program``; integers and scales are drawn at random."""

    def __init__(self, *shape: int, seed: int = 0) -> None:
        self.program, self.random = Program(layer="it"), np.random.default_rng(seed)
        self.parameters: dict[Variable, np.ndarray] = {}
        self.x = self.program.inputs["x"] = Variable("x", FLOAT32, shape)

    def feeds(self) -> dict[Variable, np.ndarray]:
        """Numbers for the input, and those of the parameters."""
        return {self.x: self.random.uniform(-2, 3, self.x.shape).astype(FLOAT32), **self.parameters}

    def known(self, array: Any, dtype: str = "float32") -> Variable:
        """A constant."""
        made: Variable = self.program.constant(np.asarray(array, dtype)).variable
        return made

    def parameter(self, array: Any) -> Variable:
        """A parameter, as scales of files are; its content is among the ``feeds``."""
        content = np.asarray(array, FLOAT32)
        made = Variable(f"p{len(self.parameters)}", FLOAT32, content.shape, parameter=Parameter("p", content))
        self.parameters[made] = content
        return made

    def append(self, op_type: str, *inputs: Variable | None, version: int = VERSION, **attributes: Any) -> Variable:
        """The output of a node of ai.onnx."""
        return self.program.append(op_type, inputs, attributes, version=version).y

    def on_grid(self, x: Variable, scale: float, zero: int, dtype: str = "uint8") -> Variable:
        """QuantizeLinear and DequantizeLinear."""
        grid = self.parameter(scale), self.known(zero, dtype)
        return self.append("DequantizeLinear", self.append("QuantizeLinear", x, *grid), *grid)

    def weight(self, *shape: int, axis: int | None = 0) -> Variable:
        """A known weight of signed bytes, dequantised: with a scale for each index of ``axis``, or one."""
        integers = self.known(self.random.integers(-128, 128, shape), "int8")
        size = () if axis is None else (shape[axis],)
        scales = self.parameter(self.random.uniform(0.001, 0.004, size))
        zeros = self.known(np.zeros(size), "int8")
        return self.append("DequantizeLinear", integers, scales, zeros, **({} if axis is None else {"axis": axis}))

    def convolution(self, x: Variable, *weight: int, axis: int | None = 0, **attributes: Any) -> Variable:
        """Conv with a bias."""
        bias = self.known(self.random.uniform(-0.5, 0.5, weight[0]))
        return self.append("Conv", x, self.weight(*weight, axis=axis), bias, version=11, **attributes)

    def ends(self, y: Variable) -> Program:
        """The program of the output ``y``."""
        self.program.outputs["y"] = y
        return self.program
