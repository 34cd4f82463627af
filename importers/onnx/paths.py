"""Stable, unique paths of leaves: the places in the container tree that users select by.

- the node's name, without ``/`` at its ends, when it is the only one of that name
- below the module scope that PyTorch's exporter notes in the node's metadata, where the name does not hold it
- ``{op_type}_{position}`` for nodes without a usable name
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

SCOPES_KEY = "pkg.torch.onnx.name_scopes"
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


class NodeNames(NamedTuple):
    """What a node says about its place."""

    name: str
    op_type: str
    scopes: str


def leaf_paths(nodes: Sequence[NodeNames]) -> list[str]:
    """One path a node, all different."""
    names = [_name(node) for node in nodes]
    counts = Counter(names)
    taken = {name for name in names if name and counts[name] == 1}
    paths = []
    for position, (node, name) in enumerate(zip(nodes, names, strict=True)):
        if name in taken:
            paths.append(name)
            continue
        path = f"{node.op_type}_{position}"
        while path in taken:
            path += "_"
        taken.add(path)
        paths.append(path)
    return paths


def _name(node: NodeNames) -> str:
    name = node.name.strip("/")
    if not node.scopes or not name or "/" in name:
        return name
    return "/".join([*_modules(node.scopes), name])


def _modules(scopes: str) -> list[str]:
    """The innermost module of ``"['', 'layer1', 'layer1.0', 'conv2d']"``, whose last entry is the operation."""
    entries = [single or double for single, double in _QUOTED.findall(scopes)]
    modules = [entry for entry in entries[:-1] if entry]
    return [part for part in modules[-1].split(".") if part] if modules else []
