"""Names of classes: kept in the file, read back, and good for labels and predictions."""

import json

import numpy as np
import pytest

import toolkit as tk
from tests.training.adapters.small import parse
from tests.training.small import classifier, clusters
from tests.training.surgery.small import reloaded
from toolkit import surgery
from toolkit.errors import GraphError, InputError
from toolkit.training import predict

NAMES = ["ant", "bee", "cat"]


def test_a_new_head_knows_its_classes_and_so_does_its_file(tmp_path):
    network, (x, labels) = classifier(), clusters()
    tk.replace_head(network, tk.layers.Linear(3), classes=NAMES)
    trainer = tk.Trainer(
        network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-2), backend="numpy"
    )
    named = np.array(NAMES)[labels]
    trainer.fit((x, named), epochs=15, progress=False)
    again = reloaded(network, tmp_path / "named.onnx")
    assert surgery.class_names(again) == NAMES
    fresh = tk.Trainer(again, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-2))
    assert fresh.evaluate((x, named)) == fresh.evaluate((x, labels))
    predicted = predict(again, x)
    assert predicted.dtype.kind == "U" and np.mean(predicted == named) > 0.9
    assert np.array_equal(trainer.predict(x, batch_size=7), predicted)
    with pytest.raises(InputError, match=r"names of classes of 'y' \('ant', 'bee', 'cat'\) or .*, got \['dog'\]"):
        fresh.evaluate((x[:2], ["ant", "dog"]))
    tk.replace_head(again, tk.layers.Linear(4))
    assert surgery.class_names(again) is None and predict(again, x).dtype.kind == "i"


def test_names_without_meaning_stay_the_affair_of_the_loss():
    trainer = tk.Trainer(classifier(), loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.SGD(0.1))
    with pytest.raises(InputError, match=r"labels must be class indices \(integers\), got <U3"):
        trainer.evaluate((np.zeros((2, 6), np.float32), ["ant", "bee"]))


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("names", "{0: 'ant', 1: 'bee', 2: 'cat'}", NAMES),
        ("classes", json.dumps(NAMES), NAMES),
        ("labels", json.dumps(NAMES), NAMES),
        ("names", "{0: 'ant'", None),
        ("names", "{0: 'ant', 2: 'bee', 3: 'cat'}", None),
        ("names", "__import__('os')", None),
        ("classes", '["only", "two"]', None),
        ("classes", "[1, 2, 3]", None),
        ("onnx_toolkit.classes", '{"y": ["ant", "bee", "cat"]}', NAMES),
        ("onnx_toolkit.classes", "[]", None),
        ("onnx_toolkit.classes", '{"z": ["ant", "bee", "cat"]}', None),
        ("onnx_toolkit.classes", "{", None),
    ],
)
def test_names_in_files_from_elsewhere(key, value, found):
    network = classifier()
    network.metadata[key] = value
    assert surgery.class_names(network) == found


@pytest.mark.parametrize(
    ("names", "output", "message"),
    [
        (["a", "a", "b"], None, r"require different texts as names, got \['a', 'a', 'b'\]"),
        ([1, 2, 3], None, r"require different texts as names"),
        (["a", "b"], None, r"Output 'y' has 3 classes, got 2 names"),
        (NAMES, "z", r"The network has the outputs \['y'\], got output='z'"),
    ],
)
def test_names_that_are_none(names, output, message):
    with pytest.raises(GraphError, match=message):
        surgery.name_classes(classifier(), names, output)


def test_names_can_be_forgotten():
    network = classifier()
    surgery.name_classes(network, NAMES)
    surgery.name_classes(network, None)
    assert network.metadata == {} and surgery.class_names(network) is None


def test_predictions_need_scores():
    network = parse("g (float[N, 3] x) => (float[N] y) { y = ReduceMean <axes = [1], keepdims = 0> (x) }")
    with pytest.raises(
        GraphError, match=r"predict requires scores \(batch, classes, \.\.\.\), got 'y' of shape \(2,\)"
    ):
        predict(network, np.zeros((2, 3), np.float32))
    with pytest.raises(GraphError, match=r"predict\(output='z'\): the network has the outputs \['y'\]"):
        predict(network, np.zeros((2, 3), np.float32), output="z")
