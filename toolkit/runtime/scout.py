"""The scout: executes a network on a batch to learn what its data decides, where a program needs to know it before.

Training differentiates one program. Where shapes, branches or trip counts depend on the data, that program is the one
of the batch at hand: the scout runs the network in segments first, and binding follows what it has seen. The scout runs
as in inference, so a decision that hangs on Dropout may come out otherwise in the step itself, which then fails with
the name of the layer.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from toolkit.compiler.decisions import Decisions
from toolkit.compiler.settled import Settled
from toolkit.errors import DataDependentShapeError
from toolkit.graph.network import Network
from toolkit.runtime.context import Context

KEPT_PLANS = 64  # programs of different decisions; a run with ever new ones compiles ever again
Sizes = tuple[int | None, dict[str, int]]


class Compiled(Protocol):
    """A plan, and what it takes for constant."""

    @property
    def settled(self) -> Settled: ...


Built = TypeVar("Built", bound=Compiled)


class Scout:
    """Tells what the data of a batch decides in a network, by sizes; nothing is executed where it decides nothing."""

    def __init__(
        self,
        network: Network,
        backend: str | Sequence[str],
        threads: int | None = None,
        outputs: Sequence[str] | None = None,
    ) -> None:
        self._network, self._backend, self._threads, self._outputs = network, backend, threads, outputs
        self._contexts: dict[Hashable, Context] = {}

    def plan(
        self,
        plans: OrderedDict[Hashable, Built],
        key: Hashable,
        sizes: Sizes,
        arrays: Mapping[str, np.ndarray],
        build: Callable[[Decisions | None], Built],
    ) -> Built:
        """The plan for a batch out of ``plans``, or a new one by ``build(decisions)``, ``None`` if there are none.

        ``key`` identifies everything besides the data, and the parameters that a plan takes for constant.
        """
        decisions = self._decisions(key, arrays)
        full = key if decisions is None else (key, decisions.key)
        found = plans.get(full)
        if found is None or not found.settled.is_current():
            try:
                found = plans[full] = build(decisions)
            except DataDependentShapeError:
                if decisions is not None:
                    raise
                batch, dims = sizes
                options: dict[str, Any] = {"backend": self._backend, "threads": self._threads}
                self._contexts[key] = Context(self._network, batch, dims=dims, outputs=self._outputs, **options)
                return self.plan(plans, key, sizes, arrays, build)
        if decisions is not None:
            plans.move_to_end(full)
            while len(plans) > KEPT_PLANS:
                plans.popitem(last=False)
        return found

    def _decisions(self, key: Hashable, arrays: Mapping[str, np.ndarray]) -> Decisions | None:
        context = self._contexts.get(key)
        return None if context is None else decided(context, arrays)


def decided(context: Context, arrays: Mapping[str, np.ndarray]) -> Decisions:
    """What the data of one batch decides in the network of ``context``."""
    context.decisions = Decisions()
    try:
        context.run(arrays)
        return context.decisions
    finally:
        context.decisions = None
