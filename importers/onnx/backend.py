"""The toolkit behind ``onnx.backend.base``: what ONNX's own conformance suite, and any client of that interface, calls.

Only the loading is done here; running is the network's own affair (``Network.run``). Devices are those of the standard
interface, ``CPU`` and ``CUDA``, with a number behind a colon; of the GPUs that CUDA shows, the first one is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from importers.onnx import load
from toolkit.backends.cuda import unavailable_reason
from toolkit.errors import BackendError, InputError
from toolkit.graph import Network


class PreparedNetwork(BackendRep):
    """A loaded model; ``run`` may be called any number of times, with arrays of any sizes that the model allows."""

    def __init__(self, network: Network, backend: str = "cpu") -> None:
        self.network, self.backend = network, backend

    def run(self, inputs: Any, **options: Any) -> Any:
        """The outputs in the model's order, as a named tuple.

        ``inputs`` are the arrays in the order of the model's inputs, one array, or a mapping by name. Raises
        ``InputError`` when there are too many, and what ``Network.run`` raises.
        """
        outputs = self.network.run(self._named(inputs), **{"backend": self.backend, **options})
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
    """Loads and runs ONNX models."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **options: Any) -> PreparedNetwork:
        """Load ``model`` for repeated runs; ``options`` are those of ``load``.

        Raises ``BackendError`` for a device that is not there, saying what it lacks, and ``ModelError`` for a model
        that is not usable.
        """
        kind, reason = _kind(device), _why_not(device)
        if reason is not None:
            raise BackendError(f"Device {device!r} is not available: {reason}")
        return PreparedNetwork(load(model, **options), kind)

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
        """Whether ``device`` (``CPU``, ``CUDA``, ``CUDA:0``) can be used."""
        return _why_not(device) is None


def _kind(device: str) -> str:
    """The backend of a device: ``cuda`` for ``CUDA:0``."""
    return device.split(":")[0].lower()


def _why_not(device: str) -> str | None:
    """Why a device cannot be used; ``None`` where it can."""
    kind, _, number = device.partition(":")
    if kind.upper() == "CPU":
        return None
    if kind.upper() != "CUDA":
        return "'CPU' and 'CUDA' are the devices there are."
    if number not in ("", "0"):
        return "the first GPU is the one that is used. Choose which one that is by CUDA_VISIBLE_DEVICES."
    return unavailable_reason()


prepare = ToolkitBackend.prepare
run_model = ToolkitBackend.run_model
run_node = ToolkitBackend.run_node
supports_device = ToolkitBackend.supports_device
is_compatible = ToolkitBackend.is_compatible
