"""Freezing by depth, and gradual unfreezing inside fit."""

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import clusters
from toolkit import layers
from toolkit.errors import GraphError, TrainingError
from toolkit.training.surgery import GradualUnfreezing


def deep():
    body = [layers.Linear(8), layers.ReLU(), layers.Linear(8), layers.ReLU(), layers.Linear(3)]
    return layers.Sequential(body).network((6,), input_name="x", output_name="y")


def learning(network):
    return sorted({name.split("/")[0] for name, item in network.parameters.items() if item.requires_grad})


def test_depth_counts_layers_with_weights():
    network = deep()
    selection = network.select("*")
    assert [leaf.path for leaf in selection.last(1)] == ["linear3/Gemm"]
    assert [leaf.path for leaf in selection.last(2)] == ["linear2/Gemm", "relu2/Relu", "linear3/Gemm"]
    assert [leaf.path for leaf in selection.first(1)] == ["linear1/Gemm", "relu1/Relu"]
    assert list(selection.first(3).parameters) == list(network.parameters)
    selection.freeze().last(2).unfreeze()
    assert learning(network) == ["linear2", "linear3"]
    for wrong in (0, 4, "all"):
        with pytest.raises(GraphError, match=r"has 3 layers with weights, so a number from 1 to 3 can be chosen"):
            selection.last(wrong)


def test_layers_join_as_epochs_pass():
    network, data = deep(), clusters(items=30)
    trainer = tk.Trainer(
        network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-2), backend="numpy"
    )
    unfreezing = GradualUnfreezing([1, ["linear2", "relu2"], "*"], epochs=2)
    seen = {}
    before = {name: item.array for name, item in network.parameters.items()}
    for epoch in range(1, 7):  # one at a time: the schedule follows the trainer's own count
        trainer.fit(data, epochs=1, progress=False, unfreezing=unfreezing)
        moved = {name.split("/")[0] for name, item in network.parameters.items() if item.array is not before[name]}
        seen[epoch] = (learning(network), sorted(moved))
    late = ["linear2", "linear3"]
    assert seen[1] == seen[2] == (["linear3"], ["linear3"])
    assert seen[3] == seen[4] == (late, late)
    assert seen[5] == seen[6] == (["linear1", *late], ["linear1", *late])
    assert np.isfinite(trainer.evaluate(data)["loss"])


@pytest.mark.parametrize(
    ("stages", "epochs", "message"),
    [
        ([], 1, r"requires a list of stages, got \[\]"),
        ("head", 1, r"requires a list of stages, got 'head'"),
        (["*"], 0, r"a whole number of epochs of at least 1 a stage, got 0"),
    ],
)
def test_schedules_that_are_none(stages, epochs, message):
    with pytest.raises(TrainingError, match=message):
        GradualUnfreezing(stages, epochs=epochs)


def test_stages_that_meet_nothing():
    with pytest.raises(GraphError, match=r"Nothing matches 'head'"):
        GradualUnfreezing(["head"]).apply(deep(), 1)
    with pytest.raises(GraphError, match=r"requires a pattern, got an empty list"):
        GradualUnfreezing([[]]).apply(deep(), 1)
