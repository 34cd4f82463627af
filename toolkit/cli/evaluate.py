"""``onnx-toolkit evaluate``: how well a model does on labelled data."""

from __future__ import annotations

import argparse

from toolkit.cli.feeds import read_labelled
from toolkit.cli.options import add_data, add_model, add_running, backends, describe_loss, loss_for, read_model
from toolkit.cli.report import Report, figure
from toolkit.training import Trainer, optimizers

SUMMARY = "loss and accuracy of a model on labelled data"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_data(parser)
    add_running(parser)


def execute(options: argparse.Namespace, report: Report) -> int:
    """Run the command; returns the exit status."""
    network = read_model(options)
    x, labels = read_labelled(network, options.data, options.x, options.y)
    loss = loss_for(network, options, labels)
    trainer = Trainer(
        network, loss=loss, optimizer=optimizers.SGD(0.0), backend=backends(options), threads=options.threads
    )
    metrics = trainer.evaluate((x, labels), batch_size=options.batch_size)
    report.line(f"{options.model}: {len(labels)} items, {describe_loss(loss)}")
    report.table(list(metrics), [[figure(value) for value in metrics.values()]], right=list(metrics))
    report.result(
        {"model": options.model, "items": len(labels), "loss_function": describe_loss(loss), "metrics": metrics}
    )
    return 0
