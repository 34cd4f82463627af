"""Adapters of a network: which there are, which are active, and what they become.

Only the leaves of active adapters are in the graph. Nothing of an adapter that is switched off is computed, saved or
trained; its matrices wait in the ``Adapter``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from toolkit.errors import GraphError
from toolkit.graph.adapter_tensors import FIRST, MAGNITUDE, SECOND, AdapterTensors
from toolkit.graph.network import Network
from toolkit.graph.parameter import Parameter
from toolkit.training.adapters.branches import Branch
from toolkit.training.adapters.installation import Active, Installation, install
from toolkit.training.adapters.modules import module_names


@dataclass(eq=False)
class Adapter:
    """Low-rank changes of some layers of ``network``, under one ``name``.

    ``kind`` is ``lora`` or ``dora``; weights change by A B * ``alpha`` / ``rank``. ``left_out`` says of layers that the
    patterns met which of them take no adapter, and why.
    """

    name: str
    kind: str
    network: Network
    rank: int
    alpha: float
    dropout: float
    branches: list[Branch]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def layers(self) -> list[str]:
        """The paths of the layers that it changes."""
        present = {id(leaf) for leaf in self.network.graph.leaves}
        return [branch.site.path for branch in self.branches if id(branch.site.leaf) in present]

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its matrices by name."""
        return {item.name: item for branch in self.branches for item in branch.parameters}

    @property
    def is_active(self) -> bool:
        return self.name in registry_of(self.network).active

    def enable(self) -> Adapter:
        """Switch it on, beside those that are active."""
        registry = registry_of(self.network)
        if not self.is_active:
            registry.switch([*registry.active, self.name])
        return self

    def disable(self) -> Adapter:
        """Switch it off; it stays with the network."""
        registry = registry_of(self.network)
        if self.is_active:
            registry.switch([name for name in registry.active if name != self.name])
        return self

    def remove(self) -> None:
        """Take it away from the network. With the last adapter gone, what was frozen for them can learn again."""
        registry = registry_of(self.network)
        self.disable()
        del registry.adapters[self.name]
        if not registry.adapters:
            registry.thaw()

    def tensors(self) -> AdapterTensors:
        """Its matrices apart from the network, as ``exporters.save_adapter`` writes them."""
        made = AdapterTensors(self.kind, self.rank, self.alpha, self.dropout, self.name)
        for branch in self.branches:
            matrices = {FIRST: branch.a.array, SECOND: branch.b.array}
            if branch.magnitude is not None:
                matrices[MAGNITUDE] = branch.magnitude.array
            made.layers[branch.site.path] = matrices
        made.modules = module_names([branch.site.leaf for branch in self.branches])
        return made

    def active(self) -> list[Active]:
        """Its branches as they are installed."""
        return [
            Active(branch, f"{branch.site.path.strip('/')}/{self.name}", self.scale, self.dropout)
            for branch in self.branches
        ]

    def __repr__(self) -> str:
        state = "active" if self.is_active else "off"
        return f"Adapter({self.name!r}, {self.kind} of rank {self.rank} on {len(self.branches)} layers, {state})"


@dataclass(eq=False)
class Registry:
    """The adapters of one network."""

    network: Network
    adapters: dict[str, Adapter] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    frozen: list[Parameter] = field(default_factory=list)
    installation: Installation | None = None

    def switch(self, names: list[str]) -> None:
        """Let exactly the adapters of these names be active."""
        self._take_out()
        self.active = names
        self._put_in()
        self.network.revision += 1

    def _put_in(self) -> None:
        wanted = [item for name in self.active for item in self.adapters[name].active()]
        if wanted:
            self.installation = install(self.network, wanted)

    def _take_out(self) -> None:
        if self.installation is not None:
            self.installation.undo()
            self.installation = None

    @contextmanager
    def without(self) -> Iterator[None]:
        """The network as it is without adapters, for a while."""
        self._take_out()
        try:
            yield
        finally:
            self._put_in()

    def freeze(self) -> None:
        """Freeze everything that is not of an adapter."""
        own = {id(item) for adapter in self.adapters.values() for item in adapter.parameters.values()}
        for item in self.network.parameters.values():
            if item.requires_grad and id(item) not in own:
                item.requires_grad = False
                self.frozen.append(item)

    def thaw(self) -> None:
        """Undo what ``freeze`` did."""
        for item in self.frozen:
            item.requires_grad = True
        self.frozen = []

    def chosen(self, name: str | None) -> Adapter:
        """The adapter of that name, by default the one that is active, or the only one. Raises ``GraphError``."""
        if name is None:
            names = self.active if len(self.active) == 1 else list(self.adapters)
            if len(names) == 1:
                return self.adapters[names[0]]
        if name is None or name not in self.adapters:
            raise GraphError(
                f"The network has the adapters {list(self.adapters)}, got {name!r}. Name one of them, or add one with "
                "adapters.lora(network, 'pattern', name=...)."
            )
        return self.adapters[name]


def registry_of(network: Network) -> Registry:
    """The registry of a network, made when it is first asked for."""
    if not isinstance(network.adapters, Registry):
        network.adapters = Registry(network)
    return network.adapters
