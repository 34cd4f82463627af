"""Running networks: contexts, plans, training sessions. Importing it gives ``Network`` its ``context`` and ``run``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.graph.network import Network
from toolkit.runtime.cache import state_of
from toolkit.runtime.context import Context
from toolkit.runtime.explain import Explanation, StepReport
from toolkit.runtime.feeds import named, sizes

if TYPE_CHECKING:
    from toolkit.runtime.training_context import TrainingContext

__all__ = ["Context", "Explanation", "StepReport", "TrainingContext"]


def __getattr__(name: str) -> Any:
    """What trains, and gradients with it, is imported when it is first asked for."""
    if name != "TrainingContext":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _training_context()


def _training_context() -> type[TrainingContext]:
    found: type[TrainingContext] = import_module("toolkit.runtime.training_context").TrainingContext
    return found


class _Runtime:
    """The doors of ``Network`` to this package."""

    def context(self, network: Network, *, training: bool = False, **options: Any) -> Context:
        return (_training_context() if training else Context)(network, **options)

    def run(self, network: Network, feeds: Mapping[str, Any] | np.ndarray, **options: Any) -> dict[str, np.ndarray]:
        arrays = named(network, feeds)
        batch, dims = sizes(network, arrays)
        state = state_of(network)
        key = (batch, tuple(sorted(dims.items())), repr(sorted(options.items())))
        context = state.contexts.get(key)
        if context is None:
            context = Context(network, batch, dims=dims, **options)
        state.remember(key, context)
        return context.run(arrays)


Network.runtime = _Runtime()
