"""The toolkit behind ``onnx.backend.base``: what ONNX's own conformance suite, and any client of that interface, calls.

Only the loading is done here; running is the network's own affair (``Network.run``). The CPU is the one device so far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from importers.onnx import load
from toolkit.errors import BackendError, InputError
from toolkit.graph import Network


class PreparedNetwork(BackendRep):
    """A loaded model; ``run`` may be called any number of times, with arrays of any sizes that the model allows."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def run(self, inputs: Any, **options: Any) -> Any:
        """The outputs in the model's order, as a named tuple.

        ``inputs`` are the arrays in the order of the model's inputs, one array, or a mapping by name. Raises
        ``InputError`` when there are too many, and what ``Network.run`` raises.
        """
        outputs = self.network.run(self._named(inputs), **options)
        names = list(self.network.outputs)
        return namedtupledict("Outputs", names)(*(outputs[name] for name in names))

    def _named(self, inputs: Any) -> dict[str, Any]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        given: Sequence[Any] = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
        names = list(self.network.inputs)
        if len(given) > len(names):
            raise InputError(f"The model has the {len(names)} inputs {names}, got {len(given)} arrays.")
        return dict(zip(names, given, strict=False))


class ToolkitBackend(Backend):
    """Loads and runs ONNX models on the CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> PreparedNetwork:
        """Load ``model`` for repeated runs; ``options`` are those of ``load``.

        Raises ``BackendError`` for another device and ``ModelError`` for a model that is not usable.
        """
        if not cls.supports_device(device):
            raise BackendError(f"Device {device!r} is not available: 'CPU' is the only one so far.")
        return PreparedNetwork(load(model, **options))

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **options: Any
    ) -> Any:
        """Run one node on arrays; types and ranks of the inputs are taken from them.

        ``opset_imports`` among the options says for which opset the node is written, the newest by default.
        """
        arrays = [np.asarray(item) for item in inputs]
        names = [name for name in node.input if name]
        declared = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(item.dtype), item.shape)
            for name, item in zip(names, arrays, strict=True)
        ]
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", declared, results)
        opsets = options.pop("opset_imports", None) or [onnx.helper.make_opsetid("", onnx.defs.onnx_opset_version())]
        return cls.prepare(onnx.helper.make_model(graph, opset_imports=opsets), device).run(arrays, **options)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether ``device`` (``CPU``, ``CUDA:1``) can be used."""
        return device.split(":")[0].upper() == "CPU"


prepare = ToolkitBackend.prepare
run_model = ToolkitBackend.run_model
run_node = ToolkitBackend.run_node
supports_device = ToolkitBackend.supports_device
is_compatible = ToolkitBackend.is_compatible
