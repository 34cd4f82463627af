"""The network: one static graph with its functions, opsets and metadata, and the doors to running it.

It knows no batch size, no device and no buffer. ``context`` and ``run`` are supplied by the runtime, which installs
itself in ``Network.runtime`` when the toolkit is imported: the graph may not depend on what executes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from toolkit.graph.layer import Graph, Scope, inner_graphs, scope_tree
from toolkit.graph.parameter import Parameter
from toolkit.graph.selection import Selection, select
from toolkit.graph.summary import summary
from toolkit.graph.training_info import TrainingInfo
from toolkit.graph.value import Value


class Runtime(Protocol):
    """What the runtime installs: builds contexts, and keeps the ones that ``Network.run`` reuses."""

    def context(self, network: Network, **options: Any) -> Any: ...

    def run(self, network: Network, feeds: Mapping[str, Any] | np.ndarray, **options: Any) -> dict[str, Any]: ...


@dataclass(eq=False)
class Network:
    """A static layer graph.

    ``opsets`` maps operator domains to versions; ``functions`` maps (domain, name, overload) to their bodies.
    ``metadata`` are the model's free-form properties. ``origin`` as in ``Value``. ``revision`` counts structural
    edits, so that contexts built before an edit are not reused. ``contexts`` belongs to the runtime, ``adapters`` to
    ``toolkit.training.adapters``. ``training`` lists what the file says about training steps; nothing here executes it.
    """

    graph: Graph
    opsets: dict[str, int] = field(default_factory=dict)
    functions: dict[tuple[str, str, str], Graph] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    ir_version: int = 10
    origin: Any = None
    revision: int = 0
    contexts: Any = field(default=None, repr=False)
    _inner: tuple[tuple[int, int, int], list[tuple[str, Graph]]] | None = field(default=None, init=False, repr=False)
    training: list[TrainingInfo] = field(default_factory=list)
    adapters: Any = field(default=None, repr=False)

    runtime: ClassVar[Runtime]

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: contexts stay with the network that made them."""
        return {**self.__dict__, "contexts": None, "_inner": None}

    @property
    def name(self) -> str:
        return self.graph.name

    @property
    def inputs(self) -> dict[str, Value]:
        """The values a caller supplies, by name; initializers that are also listed as inputs are not among them."""
        return {name: value for name, value in self.graph.inputs.items() if name not in self.graph.parameters}

    @property
    def outputs(self) -> dict[str, Value]:
        return self.graph.outputs

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters by name: those of the graph, and, by the place they are at, those of bodies and functions."""
        found = self.graph.parameters
        for prefix, inner in self.inner_graphs():
            if inner.parameters:
                found = {**found, **{prefix + name: item for name, item in inner.parameters.items()}}
        return found

    def inner_graphs(self) -> list[tuple[str, Graph]]:
        """Bodies of control flow and of functions, with what precedes the names of their parameters."""
        key = self.revision, len(self.graph.leaves), len(self.functions)
        if self._inner is None or self._inner[0] != key:
            inner = list(inner_graphs(self.graph))
            for domain, name, overload in self.functions:
                inside = "::".join(part for part in (domain, name, overload) if part) + "/"
                function = self.functions[domain, name, overload]
                inner += [(inside, function), *inner_graphs(function, inside)]
            first = {id(body): index for index, (_, body) in reversed(list(enumerate(inner)))}
            self._inner = key, [inner[index] for index in sorted(first.values())]
        return self._inner[1]

    def graphs(self) -> Iterator[Graph]:
        """Every graph that is no body of another: the network's own, its functions, those for training."""
        yield from (self.graph, *self.functions.values())
        for info in self.training:
            yield from info.graphs()

    @property
    def layers(self) -> Scope:
        """The tree of containers and leaves."""
        return scope_tree(self.graph)

    def select(self, *patterns: str) -> Selection:
        """Layers and parameters by shell patterns on their paths; see ``toolkit.graph.selection.select``."""
        return select(self.graph, *patterns, among=self.parameters)

    def summary(self) -> str:
        """A table of the layers with operators, output shapes and parameter counts."""
        return summary(self.graph)

    def context(
        self,
        batch_size: int | None = None,
        *,
        backend: str | list[str] = "cpu",
        dims: Mapping[str, int] | None = None,
        training: bool = False,
        threads: int | None = None,
        precision: str = "float32",
        **options: Any,
    ) -> Any:
        """Bind every size and compile: see ``toolkit.runtime.context.Context`` for options and errors."""
        return self.runtime.context(
            self,
            batch_size=batch_size,
            backend=backend,
            dims=dict(dims or {}),
            training=training,
            threads=threads,
            precision=precision,
            **options,
        )

    def run(self, feeds: Mapping[str, Any] | np.ndarray, **options: Any) -> dict[str, Any]:
        """Infer on ``{input name: array}``; picks, and keeps, the context for the sizes of the arrays."""
        return self.runtime.run(self, feeds, **options)

    transform = run
