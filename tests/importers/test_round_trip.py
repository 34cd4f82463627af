"""Every real model comes back from load and save as the proto it was."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from exporters import diff, save, to_proto
from importers import load
from tests.importers.small import SHARED

MODELS = sorted(SHARED.glob("assets/models/*/model.onnx"))


@pytest.mark.skipif(not MODELS, reason="the shared assets are not beside the repository")
def test_all_seventy_models_are_there():
    assert len(MODELS) == 70


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_saved_proto_equals_the_loaded_one(path: Path, tmp_path: Path):
    original = onnx.load(path, load_external_data=False)
    network = load(path)
    target = tmp_path / "model.onnx"
    save(network, target)
    assert onnx.load(target, load_external_data=False) == original
    assert to_proto(network) == original
    assert diff(path, target) == []


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parent.name)
def test_leaves_have_unique_paths_and_run_in_order(path: Path):
    network = load(path)
    for graph in (network.graph, *network.functions.values()):
        paths = [leaf.path for leaf in graph.leaves]
        assert all(paths) and len(set(paths)) == len(paths)
        known = set(graph.inputs) | set(graph.parameters) | {""}
        for leaf in graph.leaves:
            assert known.issuperset(leaf.inputs)
            assert known.isdisjoint(name for name in leaf.outputs if name)
            known.update(leaf.outputs)


def test_every_parameter_is_read_only_and_aligned():
    for path in MODELS:
        for parameter in load(path).parameters.values():
            assert not parameter.array.flags.writeable
            assert parameter.array.flags.aligned
