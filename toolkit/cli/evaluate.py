"""``onnx-toolkit evaluate``: how well a model does on labelled data."""

from __future__ import annotations

import argparse
from typing import Any

from toolkit.cli.finetune_run import RUNNING
from toolkit.cli.forms import File, Switch, Words
from toolkit.cli.judging import JUDGING_OBJECTIVE, describe_loss, loss_for, metrics_for
from toolkit.cli.options import add_model, read_model
from toolkit.cli.report import Report, figure
from toolkit.cli.settings import Group, Option, declare, settle
from toolkit.cli.sources import JUDGING_DATA, labels_of, read_source
from toolkit.graph.class_names import class_names
from toolkit.training import Trainer, optimizers
from toolkit.training.callbacks import write_report
from toolkit.training.metrics import AnyMetric, ConfusionMatrix

GROUPS = (
    JUDGING_DATA,
    JUDGING_OBJECTIVE,
    Group(
        "run",
        "the run",
        (
            Option("confusion", Switch(), "count which classes are taken for which", False),
            Option("classes", Words(), "what the classes are called (default: what the model says)"),
            Option("report", File("FILE.html"), "a page with confusion matrix, classes and worst examples"),
            *RUNNING,
        ),
    ),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    declare(parser, GROUPS)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status."""
    values = settle(options, GROUPS, required=("data",))
    network = read_model(options)
    source = read_source(network, values["data"], values)
    loss = loss_for(network, values, labels_of(source))
    judged = loss.judged(list(network.outputs))
    classes = values["classes"] or (class_names(network, judged[0]) if len(judged) == 1 else None)
    metrics = metrics_for(loss, values, classes)
    if values["confusion"]:
        metrics = {**(loss.metrics() if metrics is None else metrics), "confusion": ConfusionMatrix(classes)}
    trainer = Trainer(
        network, loss=loss, optimizer=optimizers.SGD(0.0), backend=values["backend"], threads=values["threads"]
    )
    figures = trainer.evaluate(source, batch_size=values["batch_size"], metrics=metrics)
    if values["report"] is not None:
        title = f"{options.model} on {values['data']}"
        write_report(values["report"], trainer, source, title=title, names=classes, batch_size=values["batch_size"])
    matrices = _matrices(metrics or {})
    report.line(f"{options.model}: {len(source)} items, {describe_loss(loss, network)}")
    report.table(list(figures), [[figure(value) for value in figures.values()]], right=list(figures))
    for matrix in matrices.values():
        report.line(str(matrix))
    report.result(
        {
            "model": options.model,
            "items": len(source),
            "loss_function": describe_loss(loss, network),
            "metrics": figures,
            "classes": classes,
            "confusion": {name: matrix.counts.tolist() for name, matrix in matrices.items()},
        }
    )
    return 0


def _matrices(metrics: dict[str, AnyMetric]) -> dict[str, Any]:
    """The confusion matrices among the metrics, filled by what was judged."""
    return {name: item for name, item in metrics.items() if type(item) is ConfusionMatrix}
