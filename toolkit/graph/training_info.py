"""What a file says about training: a step as a static graph, and which of its outputs become which initializers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from toolkit.graph.layer import Graph


@dataclass(eq=False)
class TrainingInfo:
    """One training algorithm of a network, as ONNX's TrainingInfoProto has it.

    ``algorithm`` is a step: it stands behind the network's own graph, whose inputs, parameters and values it may read,
    and has inputs and initializers of its own. After a step ``update_binding`` {initializer: output} says what the
    initializers of either graph become; ``initialization`` and its binding set them before the first step. A graph that
    the file lacks is ``None``. ``origin`` as in ``Value``.
    """

    algorithm: Graph | None = None
    update_binding: dict[str, str] = field(default_factory=dict)
    initialization: Graph | None = None
    initialization_binding: dict[str, str] = field(default_factory=dict)
    origin: Any = None

    def graphs(self) -> Iterator[Graph]:
        """The graphs that there are."""
        yield from (graph for graph in (self.initialization, self.algorithm) if graph is not None)

    def combined(self, main: Graph) -> Graph:
        """The graph that executes a step: ``main``, the network's, with the algorithm behind it. Nothing is copied."""
        own = self.algorithm or Graph()
        return Graph(
            own.name or main.name,
            {**main.inputs, **own.inputs},
            {**main.outputs, **own.outputs},
            [*main.leaves, *own.leaves],
            {**main.parameters, **own.parameters},
            {**main.values, **own.values},
        )
