"""Training steps that were exported, executed by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime

from exporters import to_proto
from toolkit.graph import Network

Arrays = dict[str, np.ndarray]


class ExportedStep:
    """A training network in onnxruntime; ``fed_back`` is what the last step gave for the next one."""

    def __init__(self, step: Network) -> None:
        proto = to_proto(step)
        onnx.checker.check_model(proto, full_check=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.names = [item.name for item in self._session.get_outputs()]
        self.fed_back: Arrays = {}

    def run(self, feeds: Mapping[str, Any]) -> Arrays:
        """One step; every output ``X.updated`` becomes the input ``X`` of the next."""
        found = dict(zip(self.names, self._session.run(self.names, {**self.fed_back, **feeds}), strict=True))
        ending = ".updated"
        self.fed_back = {name.removesuffix(ending): item for name, item in found.items() if name.endswith(ending)}
        return found
