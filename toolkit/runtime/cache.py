"""What a network keeps between runs: the contexts that ``Network.run`` picked, and what contexts share."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from toolkit.backends.protocol import Kernel
from toolkit.compiler.program import Program
from toolkit.graph.network import Network

KEPT_CONTEXTS = 8


@dataclass(eq=False)
class NetworkState:
    """``packed`` holds packed weights, ``programs`` what was compiled, ``kernels`` of it, as long as contexts use them.

    A context of sizes that another one has is planned from the same program. ``contexts`` are the last ones that
    ``run`` picked.
    """

    packed: Any = field(default_factory=WeakValueDictionary)
    programs: WeakValueDictionary[Any, Program] = field(default_factory=WeakValueDictionary)
    kernels: WeakValueDictionary[Any, Kernel] = field(default_factory=WeakValueDictionary)
    contexts: OrderedDict[Any, Any] = field(default_factory=OrderedDict)
    revision: int = 0

    def remember(self, key: Any, context: Any) -> None:
        """Keep a context, dropping the one used longest ago when there are many."""
        self.contexts[key] = context
        self.contexts.move_to_end(key)
        while len(self.contexts) > KEPT_CONTEXTS:
            self.contexts.popitem(last=False)


def state_of(network: Network) -> NetworkState:
    """The state of a network; started afresh after an edit of its structure."""
    state = network.contexts
    if not isinstance(state, NetworkState) or state.revision != network.revision:
        state = network.contexts = NetworkState(revision=network.revision)
    return state
