"""``onnx-toolkit inspect``: layers, shapes, parameters, and which of them can be trained and why not."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

from toolkit.cli.options import DIM_HINT, add_dims, add_model, count, read_model
from toolkit.cli.report import Report
from toolkit.cli.trainability import Trainability, Verdict, trainability
from toolkit.compiler.bind import first_segment, require_supported
from toolkit.errors import InputError, ToolkitError, UnsupportedOperatorError
from toolkit.graph import Leaf, Network, Scope, Value
from toolkit.graph.folded_normalization import folded_normalization, note_on_folding
from toolkit.graph.layer import reads
from toolkit.operators import since_version


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    parser.add_argument("--batch-size", type=count, default=1, help="items for which shapes are shown (default: 1)")
    add_dims(parser)
    parser.add_argument(
        "--train",
        metavar="OUTPUT",
        nargs="?",
        const="",
        help="show for each layer what training would do with it, judged by one output or (default) any of them",
    )
    parser.add_argument("--parameters", action="store_true", help="list every parameter, not only the exceptions")


@dataclass
class Findings:
    """What binding the network told: concrete shapes, verdicts, or the ``problem`` that prevented it."""

    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    training: Trainability | None = None
    problem: str = ""
    can_run: bool = True

    @property
    def verdicts(self) -> dict[str, Verdict]:
        return {} if self.training is None else self.training.parameters


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status."""
    network = read_model(options)
    findings = examine(network, options.batch_size, dict(options.dim), options.train or None)
    rows = [_row(network, findings, item, depth) for item, depth in _items(network.layers, 0)]
    _tell(report, network, findings, rows, options)
    report.result(_result(options, network, findings, rows))
    return 0


def examine(network: Network, batch_size: int, dims: dict[str, int], output: str | None = None) -> Findings:
    """Bind and differentiate the network; what prevents it becomes the ``problem``. Raises for an unknown output."""
    if output is not None and output not in network.outputs:
        raise InputError(f"--train {output}: the network has no such output; its outputs are {list(network.outputs)}.")
    findings = Findings()
    try:
        program = first_segment(network, batch_size, dims).program
        findings.shapes = {item.name: item.shape for node in program.nodes for item in node.outputs if item is not None}
        findings.training = trainability(network, batch_size, dims, output)
    except ToolkitError as error:
        findings.problem = f"{error}{DIM_HINT}" if isinstance(error, InputError) else str(error)
        findings.can_run = not isinstance(error, UnsupportedOperatorError)
        if findings.can_run:
            findings = _with_missing_operators(network, findings)
    return findings


def _with_missing_operators(network: Network, findings: Findings) -> Findings:
    try:
        require_supported(network)
    except UnsupportedOperatorError as error:
        findings.problem, findings.can_run = str(error), False
    return findings


def _items(scope: Scope, depth: int) -> list[tuple[Scope | Leaf, int]]:
    """Scopes and leaves in order, with their depth in the tree."""
    found: list[tuple[Scope | Leaf, int]] = []
    for child in scope:
        found.append((child, depth))
        if isinstance(child, Scope):
            found += _items(child, depth + 1)
    return found


def _row(network: Network, findings: Findings, item: Scope | Leaf, depth: int) -> dict[str, Any]:
    if isinstance(item, Scope):
        return {"depth": depth, "layer": item.path, "name": f"{item.name}/", "operator": None}
    own = [name for name in dict.fromkeys(reads(item)) if name in network.parameters]
    own += [name for name in network.parameters if any(item.bodies) and name.startswith(f"{item.path}/")]
    learnable = [name for name in own if name in findings.verdicts and findings.verdicts[name].can_train]
    training = None if findings.training is None else findings.training.layer(item.path)
    return {
        "depth": depth,
        "layer": item.path,
        "name": item.path.rsplit("/", 1)[-1],
        "operator": f"{item.operator}-{since_version(item.domain, item.op_type, item.version) or item.version}",
        "outputs": {name: _shape(network, findings, name) for name in item.outputs if name},
        "parameters": own,
        "size": sum(network.parameters[name].size for name in own),
        "trainable_size": sum(network.parameters[name].size for name in learnable) if findings.verdicts else None,
        "training": None if training is None else training.state,
        "why": findings.problem if training is None else training.reason,
    }


def _shape(network: Network, findings: Findings, name: str) -> list[int | str | None] | None:
    if name in findings.shapes:
        return list(findings.shapes[name])
    value: Value | None = network.graph.values.get(name) or network.outputs.get(name)
    return None if value is None or value.shape is None else list(value.shape)


def _tell(
    report: Report, network: Network, findings: Findings, rows: list[dict[str, Any]], options: argparse.Namespace
) -> None:
    opsets = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in network.opsets.items())
    report.line(f"{options.model}: {network.name or 'unnamed'}, opsets {opsets}")
    for kind, values in (("input", network.inputs), ("output", network.outputs)):
        for name, value in values.items():
            axis = "" if value.batch_axis is None else f", batch on axis {value.batch_axis}"
            report.line(f"  {kind} {name!r} {value.describe()}{axis}")
    shape_column = f"output at batch {options.batch_size}" if findings.shapes else "declared output"
    columns = ["layer", "operator", shape_column, "parameters", "of them trainable"]
    cells = [_cells(row) for row in rows]
    if options.train is not None:
        columns += ["training", "why"]
        cells = [
            [*line, row.get("training") or "", row.get("why") or ""] for line, row in zip(cells, rows, strict=True)
        ]
    report.table(columns, cells, right=("parameters", "of them trainable"))
    _tell_parameters(report, network, findings, options.parameters)
    if note := note_on_folding(network.graph):
        report.line(note)
    problems = {} if findings.training is None else findings.training.problems
    for name, problem in problems.items():
        report.line(f"Output {name!r} cannot be judged: {problem}")
    if findings.problem:
        report.line(f"{'Not everything is known' if findings.can_run else 'It cannot be run'}: {findings.problem}")


def _cells(row: dict[str, Any]) -> list[str]:
    name = "  " * row["depth"] + row["name"]
    if row["operator"] is None:
        return [name, "", "", "", ""]
    shapes = ["?" if shape is None else "x".join(str(dim or "?") for dim in shape) for shape in row["outputs"].values()]
    trainable = row["trainable_size"]
    counts = [f"{row['size']:,}", "?" if trainable is None else f"{trainable:,}"] if row["size"] else ["", ""]
    return [name, row["operator"], ", ".join(shapes), *counts]


def _tell_parameters(report: Report, network: Network, findings: Findings, every: bool) -> None:
    listed = {
        name: verdict
        for name, verdict in findings.verdicts.items()
        if every or not verdict.can_train or verdict.missing
    }
    if listed:
        rows = [
            [name, network.parameters[name].dtype.name, str(network.parameters[name].shape), _verdict(verdict)]
            for name, verdict in listed.items()
        ]
        report.table(("parameter", "dtype", "shape", "can be trained"), rows)
    total = sum(item.size for item in network.parameters.values())
    able = sum(network.parameters[name].size for name, verdict in findings.verdicts.items() if verdict.can_train)
    known = f"{able:,} of them in tensors that can be trained" if findings.verdicts else "trainable or not is unknown"
    report.line(f"{len(network.parameters)} parameter tensors, {total:,} numbers, {known}")


def _verdict(verdict: Verdict) -> str:
    if not verdict.can_train:
        return f"no: {verdict.reason}"
    return f"yes, through {', '.join(verdict.outputs)}{verdict.missing and ', but '}{verdict.missing}"


def _result(
    options: argparse.Namespace, network: Network, findings: Findings, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "model": options.model,
        "name": network.name,
        "opsets": network.opsets,
        "metadata": network.metadata,
        "inputs": {name: _described(value) for name, value in network.inputs.items()},
        "outputs": {name: _described(value) for name, value in network.outputs.items()},
        "layers": rows,
        "parameters": {
            name: {
                "dtype": item.dtype.name,
                "shape": item.shape,
                "trainable": findings.verdicts[name].can_train if name in findings.verdicts else None,
                "through": findings.verdicts[name].outputs if name in findings.verdicts else [],
                "reason": findings.verdicts[name].reason if name in findings.verdicts else findings.problem,
                "missing": findings.verdicts[name].missing if name in findings.verdicts else "",
                "role": item.role,
            }
            for name, item in network.parameters.items()
        },
        "folded_normalization": [leaf.path for leaf in folded_normalization(network.graph)],
        "can_run": findings.can_run,
        "problem": findings.problem or None,
        "outputs_that_cannot_be_judged": {} if findings.training is None else findings.training.problems,
    }


def _described(value: Value) -> dict[str, Any]:
    dtype = None if value.dtype is None else value.dtype.name
    return {"kind": value.kind, "dtype": dtype, "shape": value.shape, "batch_axis": value.batch_axis}
