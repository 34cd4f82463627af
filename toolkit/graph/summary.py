"""The summary: a network as a table on a terminal, scopes indented, parameters counted once."""

from __future__ import annotations

from toolkit.graph.layer import Graph, Leaf, Scope, reads, scope_tree


def summary(graph: Graph) -> str:
    """Layers with operator, declared output and parameter count, one a line; totals below."""
    declared = {**graph.values, **graph.outputs}
    rows = [("layer", "operator", "output", "parameters")]
    counted: set[str] = set()

    def add(item: Scope | Leaf, depth: int) -> None:
        if isinstance(item, Scope):
            rows.append(("  " * depth + item.name + "/", "", "", ""))
            for child in item:
                add(child, depth + 1)
            return
        fresh = [name for name in reads(item) if name in graph.parameters and name not in counted]
        counted.update(fresh)
        first = next((name for name in item.outputs if name), "")
        output = declared[first].describe() if first in declared else ""
        size = sum(graph.parameters[name].size for name in fresh)
        rows.append(("  " * depth + item.path.rsplit("/", 1)[-1], item.operator, output, f"{size:,}" if size else ""))

    for child in scope_tree(graph):
        add(child, 0)
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    total = sum(item.size for item in graph.parameters.values())
    trainable = sum(item.size for item in graph.parameters.values() if item.requires_grad)
    interface = [f"input {value!r}" for name, value in graph.inputs.items() if name not in graph.parameters]
    interface += [f"output {value!r}" for value in graph.outputs.values()]
    return "\n".join([*interface, "", *lines, "", f"{total:,} parameters, {trainable:,} trainable"])
