"""Names of classes: what the indices of a classifier's output mean, kept in the model's own metadata.

``CLASSES_KEY`` holds JSON, ``{output name: [names]}``. Of networks from elsewhere these customs are understood:
``names`` as Ultralytics writes it (``{0: 'cat', 1: 'dog'}``), and ``classes`` or ``labels`` with a JSON list.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

from toolkit.errors import GraphError
from toolkit.graph.network import Network

CLASSES_KEY = "onnx_toolkit.classes"
LISTS, MAPPING = ("classes", "labels"), "names"


def name_classes(network: Network, names: Sequence[str] | None, output: str | None = None) -> None:
    """Note what the classes of an output are called, in the order of its indices; ``None`` forgets them.

    Raises ``GraphError`` for names that are not different texts, or not as many as the output declares classes.
    """
    name = _output(network, output)
    known = _own(network)
    known.pop(name, None)
    if names is not None:
        given = list(names)
        if not given or not all(isinstance(item, str) for item in given) or len(set(given)) < len(given):
            raise GraphError(f"Classes of output {name!r} require different texts as names, got {given[:4]}.")
        declared = _declared_classes(network, name)
        if declared is not None and declared != len(given):
            raise GraphError(
                f"Output {name!r} has {declared} classes, got {len(given)} names. Name each class once, in the order "
                "of the indices."
            )
        known[name] = given
    network.metadata.pop(CLASSES_KEY, None)
    if known:
        network.metadata[CLASSES_KEY] = json.dumps(known, ensure_ascii=False)


def class_names(network: Network, output: str | None = None) -> list[str] | None:
    """What the classes of an output are called, ``None`` where the file does not say.

    ``output`` may be left out where there is one, or one with names.
    """
    known = _own(network)
    if output is None and len(known) == 1:
        return next(iter(known.values()))
    name = _output(network, output)
    found = known.get(name) or (_customary(network) if len(network.outputs) == 1 else None)
    declared = _declared_classes(network, name)
    return found if found is None or declared in (None, len(found)) else None


def _own(network: Network) -> dict[str, list[str]]:
    """What is noted under the toolkit's own key, as far as it is in order."""
    try:
        held = json.loads(network.metadata.get(CLASSES_KEY, "{}"))
    except (ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {name: names for name, names in held.items() if name in network.outputs and _are_names(names)}


def _customary(network: Network) -> list[str] | None:
    for key in LISTS:
        try:
            held = json.loads(network.metadata.get(key, "null"))
        except (ValueError, RecursionError):
            continue
        if _are_names(held):
            return list(held)
    try:
        mapping = ast.literal_eval(network.metadata.get(MAPPING, "None"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(mapping, dict) and sorted(map(str, mapping)) == sorted(map(str, range(len(mapping)))):
        names = [mapping[index] for index in sorted(mapping, key=int)]
        return names if _are_names(names) else None
    return None


def _are_names(held: object) -> bool:
    return isinstance(held, list) and bool(held) and all(isinstance(item, str) for item in held)


def _declared_classes(network: Network, output: str) -> int | None:
    """The number of classes that an output declares: the size of axis 1, or of the last where there is no other."""
    shape = network.outputs[output].shape
    size = shape[1] if shape is not None and len(shape) > 1 else None
    return size if isinstance(size, int) else None


def _output(network: Network, output: str | None) -> str:
    names = list(network.outputs)
    if output is None and len(names) == 1:
        return names[0]
    if output not in names:
        raise GraphError(f"The network has the outputs {names}, got output={output!r}. Name one of them.")
    return output
