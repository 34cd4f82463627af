"""Models that scikit-learn trains and skl2onnx converts: the toolkit and onnxruntime answer the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, Int64TensorType, StringTensorType
from sklearn import ensemble, impute, linear_model, pipeline, preprocessing, svm, tree

from importers import load

FEATURES = 5
ROWS = 200


def data(classes: int | None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features, and labels of so many classes or (``None``) numbers that depend on them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    y = x[:, 0] * 2 + np.sin(3 * x[:, 1]) - x[:, 2] * x[:, 3] + 0.1 * random.normal(size=ROWS)
    return x, y if classes is None else np.digitize(y, np.quantile(y, np.arange(1, classes) / classes))


def converted(model: Any, kind: Any = FloatTensorType, columns: int = FEATURES) -> onnx.ModelProto:
    has_maps = hasattr(model, "classes_") and not isinstance(model, svm.LinearSVC)
    given = {id(model): {"zipmap": False}} if has_maps else None
    return skl2onnx.to_onnx(model, initial_types=[("x", kind([None, columns]))], options=given)


def assert_agrees(model: onnx.ModelProto, x: np.ndarray, tolerance: float = 1e-5) -> list[np.ndarray]:
    """Compare all outputs, at batch sizes of one, some and all rows."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    network = load(model)
    outputs: list[np.ndarray] = []
    for rows in (x[:1], x[:7], x):
        expected = dict(zip([item.name for item in session.get_outputs()], session.run(None, {"x": rows}), strict=True))
        found = network.run({"x": rows})
        assert list(found) == list(expected)
        for name, theirs in expected.items():
            ours = found[name]
            assert (ours.dtype.kind, ours.shape) == (np.asarray(theirs).dtype.kind, theirs.shape)
            if ours.dtype.kind == "f":
                np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance, err_msg=name)
            else:
                np.testing.assert_array_equal(ours, theirs, err_msg=name)
        outputs = list(found.values())
    return outputs


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "random forest": lambda: ensemble.RandomForestClassifier(20, max_depth=6, random_state=0),
    "extra trees": lambda: ensemble.ExtraTreesClassifier(15, random_state=0),
    "decision tree": lambda: tree.DecisionTreeClassifier(random_state=0),
    "gradient boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=15, random_state=0),
    "ada boost": lambda: ensemble.AdaBoostClassifier(n_estimators=5, random_state=0),
    "logistic regression": lambda: linear_model.LogisticRegression(),
    "stochastic descent": lambda: linear_model.SGDClassifier(loss="log_loss", random_state=0),
    "linear machine": lambda: svm.LinearSVC(),
    **{
        f"{kind.__name__} {kernel}{' probabilities' if probability else ''}": (
            lambda kind=kind, kernel=kernel, probability=probability: kind(
                kernel=kernel, probability=probability, gamma=0.3, coef0=0.5, random_state=0
            )
        )
        for kind in (svm.SVC, svm.NuSVC)
        for kernel in ("linear", "poly", "rbf", "sigmoid")
        for probability in (False, True)
        if not (kind is svm.NuSVC and kernel in ("poly", "sigmoid"))
    },
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "random forest": lambda: ensemble.RandomForestRegressor(20, max_depth=7, random_state=0),
    "extra trees": lambda: ensemble.ExtraTreesRegressor(15, random_state=0),
    "gradient boosting": lambda: ensemble.GradientBoostingRegressor(n_estimators=20, random_state=0),
    "linear": lambda: linear_model.Ridge(),
    **{
        f"machine {kernel}": lambda kernel=kernel: svm.SVR(kernel=kernel, gamma=0.3, coef0=0.5)
        for kernel in ("linear", "poly", "rbf", "sigmoid")
    },
    "nu machine": lambda: svm.NuSVR(gamma=0.3),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifier(name: str, classes: int) -> None:
    x, y = data(classes)
    model = CLASSIFIERS[name]().fit(x[:120], y[:120])
    # large weights that nearly cancel: onnxruntime computes the kernel in float32, the toolkit in float64
    assert_agrees(converted(model), x, 2e-3 if name.startswith("NuSVC linear") else 1e-4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["random forest", "gradient boosting", "logistic regression", "SVC rbf"])
@pytest.mark.parametrize("classes", [2, 3])
def test_classifier_with_strings(name: str, classes: int) -> None:
    x, y = data(classes)
    model = CLASSIFIERS[name]().fit(x[:120], np.array(["low", "mid", "top"])[y[:120]])
    label, _ = assert_agrees(converted(model), x, 1e-4)
    assert set(label) <= set(model.classes_)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressor(name: str) -> None:
    x, y = data(None)
    model = REGRESSORS[name]().fit(x[:120], y[:120])
    assert_agrees(converted(model), x, 1e-4)


def test_forest_with_several_targets() -> None:
    x, y = data(None)
    model = ensemble.RandomForestRegressor(10, random_state=0).fit(x, np.stack([y, -2 * y, y**2], axis=1))
    assert_agrees(converted(model), x, 1e-4)


def test_outliers_of_a_one_class_machine() -> None:
    x, _ = data(None)
    assert_agrees(converted(svm.OneClassSVM(gamma=0.3, nu=0.3).fit(x)), x, 1e-4)


def test_double_forest_compares_in_double() -> None:
    x, y = data(3)
    model = ensemble.RandomForestClassifier(10, random_state=0).fit(x, y)
    assert_agrees(converted(model, DoubleTensorType), x.astype(np.float64), 1e-4)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_pipeline_of_scalers(norm: str) -> None:
    x, y = data(3)
    x[::7, 1] = np.nan
    model = pipeline.make_pipeline(
        impute.SimpleImputer(strategy="mean"),
        preprocessing.StandardScaler(),
        preprocessing.Normalizer(norm),
        linear_model.LogisticRegression(),
    ).fit(x, y)
    assert_agrees(converted(model), x)


@pytest.mark.parametrize(
    "step",
    [
        preprocessing.MinMaxScaler(),
        preprocessing.RobustScaler(),
        preprocessing.MaxAbsScaler(),
        preprocessing.Binarizer(threshold=0.3),
        preprocessing.KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"),
        preprocessing.PolynomialFeatures(2),
    ],
    ids=lambda step: type(step).__name__,
)
def test_preprocessing(step: Any) -> None:
    x, _ = data(None)
    assert_agrees(converted(step.fit(x)), x)


def test_encoders_of_strings() -> None:
    words = np.random.default_rng(0).choice(["ant", "bee", "cat"], size=(50, 2)).astype(object)
    for encoder in (
        preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore"),
        preprocessing.OrdinalEncoder(),
    ):
        assert_agrees(converted(encoder.fit(words), StringTensorType, 2), words)
    unknown = np.array([["dog", "bee"], ["ant", "cow"]], dtype=object)
    known_or_zero = preprocessing.OneHotEncoder(sparse_output=False, handle_unknown="ignore").fit(words)
    assert_agrees(converted(known_or_zero, StringTensorType, 2), unknown)


def test_encoder_of_integers() -> None:
    numbers = np.random.default_rng(0).integers(0, 5, size=(50, 3))
    assert_agrees(converted(preprocessing.OneHotEncoder(sparse_output=False).fit(numbers), Int64TensorType, 3), numbers)
