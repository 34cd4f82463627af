"""Names of layers as PyTorch and PEFT write them: ``encoder/layer.0/attention/query/MatMul`` is the operator of the

module ``encoder.layer.0.attention.query``. Adapters in files are told apart by these names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from toolkit.graph.layer import Leaf


def module_name(leaf: Leaf) -> str:
    """The module that a layer belongs to, or the layer's own path where its name does not end with its operator."""
    *scopes, last = leaf.path.strip("/").split("/")
    is_operator = re.fullmatch(rf"{re.escape(leaf.op_type)}(_\d+)?", last, re.IGNORECASE)
    return ".".join(scopes if scopes and is_operator else [*scopes, last])


def module_names(leaves: Iterable[Leaf]) -> dict[str, str]:
    """The module of each leaf by its path; the whole path, with dots, where a module has several such leaves."""
    chosen = list(leaves)
    of = {leaf.path: module_name(leaf) for leaf in chosen}
    counts = Counter(of.values())
    return {path: name if counts[name] == 1 else path.strip("/").replace("/", ".") for path, name in of.items()}


def leaf_of(wanted: str, candidates: Iterable[Leaf]) -> Leaf | None:
    """The leaf that a path or module name means, ``None`` if there is none or several.

    The name in a file may begin with modules around the network, and the network with some around what the file names.
    """
    chosen = list(candidates)
    dotted = wanted.strip("/").replace("/", ".")
    for match in (_is_path, _is_module, _ends_alike):
        found = [leaf for leaf in chosen if match(leaf, dotted)]
        if found:
            return found[0] if len(found) == 1 else None
    return None


def _is_path(leaf: Leaf, dotted: str) -> bool:
    return leaf.path.strip("/").replace("/", ".") == dotted


def _is_module(leaf: Leaf, dotted: str) -> bool:
    return module_name(leaf) == dotted


def _ends_alike(leaf: Leaf, dotted: str) -> bool:
    own = module_name(leaf)
    return f".{dotted}".endswith(f".{own}") or f".{own}".endswith(f".{dotted}")
