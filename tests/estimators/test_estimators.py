"""Estimators: scikit-learn's own checks, all of them, and what networks add to its manners."""

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import toolkit as tk
from exporters import to_proto
from importers import load
from tests.training.small import classifier, clusters, weights
from toolkit.errors import InputError
from toolkit.estimators import OnnxClassifier, OnnxRegressor

ROOT = Path(__file__).resolve().parents[2]
X, Y = clusters()
NAMES = np.array(["apple", "pear", "plum"])[Y]


@parametrize_with_checks([OnnxClassifier(epochs=30), OnnxRegressor(epochs=30)])
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_a_model_is_copied_and_learns_labels_of_any_kind():
    network = classifier()
    before = weights(network)
    fitted = OnnxClassifier(network, epochs=15, random_state=0).fit(X, NAMES)
    assert fitted.classes_.tolist() == ["apple", "pear", "plum"] and fitted.score(X, NAMES) > 0.95
    assert all(np.array_equal(array, before[name]) for name, array in weights(network).items())
    assert fitted.predict_proba(X).sum(1) == pytest.approx(np.ones(len(X)))
    assert np.allclose(fitted.predict_log_proba(X), np.log(fitted.predict_proba(X)))


@pytest.mark.parametrize("form", ["bytes", "path", "function"])
def test_models_come_as_files_and_functions(form, tmp_path):
    content = to_proto(classifier()).SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content)
    perceptron = tk.layers.Sequential([tk.layers.Linear(8), tk.layers.ReLU(), tk.layers.Linear(3)])
    model = {"bytes": content, "path": tmp_path / "m.onnx", "function": lambda n, width: perceptron.network((n,))}[form]
    assert OnnxClassifier(model, epochs=15, random_state=0).fit(X, Y).score(X, Y) > 0.95


def test_another_number_of_classes_gets_another_head():
    fitted = OnnxClassifier(classifier(classes=5), epochs=15, random_state=0).fit(X, NAMES)
    assert fitted.predict_proba(X).shape == (len(X), 3) and fitted.score(X, NAMES) > 0.95
    assert OnnxRegressor(classifier(), epochs=1).fit(X, X[:, :2]).predict(X).shape == (len(X), 2)


def test_probabilities_are_taken_as_what_they_are():
    fitted = OnnxClassifier(classifier(tk.layers.Softmax()), epochs=15, random_state=0).fit(X, Y)
    given = fitted.network_.run(X)["y"]
    assert np.allclose(fitted.predict_proba(X), given, atol=1e-5) and fitted.score(X, Y) > 0.95


def test_a_model_of_skl2onnx_with_labels_and_probabilities():
    skl2onnx = pytest.importorskip("skl2onnx")
    x, y = load_digits(return_X_y=True)
    x = (x / 16).astype(np.float32)
    poor = MLPClassifier((32,), max_iter=15, random_state=0).fit(x[:300], y[:300])
    content = skl2onnx.to_onnx(poor, x[:1], options={"zipmap": False}).SerializeToString()
    fitted = OnnxClassifier(content, output="probabilities", epochs=10, random_state=0).fit(x[:1200], y[:1200])
    assert fitted.score(x[1200:], y[1200:]) > max(0.85, poor.score(x[1200:], y[1200:]))


def test_features_take_the_shape_of_an_item():
    body = [tk.layers.Convolution(4, 3), tk.layers.ReLU(), tk.layers.Flatten(), tk.layers.Linear(10)]
    network = tk.layers.Sequential(body).network((1, 8, 8))
    x, y = load_digits(return_X_y=True)
    flat = OnnxClassifier(network, epochs=3, random_state=0).fit(x[:400] / 16, y[:400])
    images = clone(flat).fit(x[:400].reshape(-1, 1, 8, 8) / 16, y[:400])
    assert flat.score(x[:400] / 16, y[:400]) == images.score(x[:400].reshape(-1, 1, 8, 8) / 16, y[:400]) > 0.85


def test_passes_one_by_one_reach_what_fit_does():
    estimator = OnnxClassifier(random_state=0)
    for _ in range(20):
        estimator.partial_fit(X, NAMES, classes=["apple", "pear", "plum", "quince"])
    assert estimator.score(X, NAMES) > 0.95 and estimator.predict_proba(X).shape == (len(X), 4)
    again = pickle.loads(pickle.dumps(estimator))
    assert np.array_equal(again.predict_proba(X), estimator.predict_proba(X))
    assert again.partial_fit(X, NAMES).score(X, NAMES) > 0.95
    regressor = OnnxRegressor(random_state=0)
    for _ in range(60):
        regressor.partial_fit(X, X @ np.arange(6))
    assert regressor.score(X, X @ np.arange(6)) > 0.9


def test_a_seed_decides_everything():
    first, again = (OnnxClassifier(epochs=2, random_state=3).fit(X, Y).predict_proba(X) for _ in range(2))
    assert np.array_equal(first, again)


def test_targets_of_any_scale():
    target = np.stack([1e4 * X[:, 0] + 5e4, 1e-3 * X[:, 1]], axis=1)
    assert OnnxRegressor(random_state=0).fit(X, target[:, 0]).score(X, target[:, 0]) > 0.95


def test_pipelines_and_searches():
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(StandardScaler(), OnnxClassifier(epochs=20, random_state=0))
    search = GridSearchCV(pipeline, {"onnxclassifier__hidden": [(2,), (16,)]}, cv=3).fit(x, y)
    assert search.best_score_ > 0.9 and len(search.cv_results_["params"]) == 2


def test_what_was_learnt_runs_elsewhere():
    onnxruntime = pytest.importorskip("onnxruntime")
    fitted = OnnxRegressor(epochs=5, random_state=0).fit(X, X[:, 0] * 3)
    session = onnxruntime.InferenceSession(to_proto(fitted.network_).SerializeToString())
    assert np.allclose(session.run(None, {"input": X})[0][:, 0], fitted.predict(X), atol=1e-4)


def test_networks_in_parameters_are_cloned():
    estimator = OnnxClassifier(classifier())
    twin = clone(estimator)
    assert twin.model is not estimator.model and list(twin.model.parameters) == list(estimator.model.parameters)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))])
def test_networks_are_copied_with_what_training_has_made_of_them(duplicate):
    network = load(to_proto(classifier()))
    trainer = tk.Trainer(network, loss=tk.losses.SoftmaxCrossEntropy(), optimizer=tk.optimizers.Adam(1e-2))
    trainer.train_minibatch(X, Y)
    twin = duplicate(network)
    assert np.array_equal(twin.run(X)["y"], network.run(X)["y"])
    assert to_proto(twin) == to_proto(network)
    trainer.train_minibatch(X, Y)
    assert not np.array_equal(twin.run(X)["y"], network.run(X)["y"])
    with pytest.raises(ValueError, match="read-only"):
        next(iter(twin.parameters.values())).array[...] = 0


def two_inputs():
    network = classifier()
    network.graph.inputs["extra"] = tk.Value("extra", np.dtype(np.float32), ("batch", 1), 0)
    return network


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (OnnxClassifier(3), "model requires a path, the bytes of a file, a Network, or a function"),
        (OnnxClassifier(lambda features, width: None), "model requires a path"),
        (OnnxClassifier(classifier(features=5)), r"X has 6 features, but .* takes 5 an item"),
        (OnnxClassifier(classifier(), output="z"), r"output='z': the model has the outputs \['y'\]"),
        (OnnxClassifier(two_inputs()), r"feeds one input, the model has \['x', 'extra'\]"),
    ],
)
def test_models_that_do_not_fit_are_named(estimator, message):
    with pytest.raises(InputError, match=message):
        estimator.fit(X, Y)


def test_classes_of_later_passes_are_known_from_the_first():
    with pytest.raises(InputError, match="needs classes="):
        OnnxClassifier().partial_fit(X, Y)
    with pytest.raises(InputError, match=r"y holds \[9\], which is not among the classes"):
        OnnxClassifier().partial_fit(X, Y, classes=[0, 1, 2]).partial_fit(X, np.full(len(X), 9))


def test_scikit_learn_is_imported_only_when_asked_for():
    code = (
        "import sys; sys.modules['sklearn'] = None; import toolkit as tk; tk.estimators; tk.estimators.OnnxClassifier"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "BackendError: OnnxClassifier follows scikit-learn, which is not installed: pip install" in done.stderr


def test_only_estimators_are_there():
    with pytest.raises(AttributeError, match="no attribute 'OnnxTransformer'"):
        tk.estimators.OnnxTransformer  # noqa: B018
