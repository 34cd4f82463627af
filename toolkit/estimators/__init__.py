"""Networks with the manners of scikit-learn: ``OnnxClassifier`` and ``OnnxRegressor``.

scikit-learn is imported when one of them is asked for, and nowhere else in the toolkit.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from toolkit.errors import BackendError

if TYPE_CHECKING:
    from toolkit.estimators.classifier import OnnxClassifier
    from toolkit.estimators.regressor import OnnxRegressor

__all__ = ["OnnxClassifier", "OnnxRegressor"]
_MODULES = {"OnnxClassifier": "classifier", "OnnxRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "sklearn":
            raise
        raise BackendError(
            f"{name} follows scikit-learn, which is not installed: pip install 'onnx-toolkit[estimators]', or "
            "pip install 'scikit-learn>=1.6'."
        ) from error
