"""Every error the toolkit raises on purpose; catching ``ToolkitError`` catches them all.

::

    ToolkitError
    ├── ModelError (ValueError)            the file or proto is not a usable model
    │   └── UnsupportedOperatorError       operators without a kernel, all of them listed at once
    ├── GraphError (ValueError)            an edit, selection or wiring of the graph that cannot be done
    ├── ShapeError (ValueError)            shapes or types that do not fit the operator that gets them
    │   └── DataDependentShapeError        a shape that only the data can tell, where it has to be known before
    ├── InputError (ValueError)            data handed to a context, trainer or command does not fit
    ├── BackendError (RuntimeError)        a backend is missing, or one of its kernels failed
    └── TrainingError (RuntimeError)       a training run cannot start or go on
        ├── NotDifferentiableError         no gradient leads from the loss to something that must learn
        └── NonFiniteLossError             the loss became NaN or infinite; nothing was updated in that step

A message names the layer, what was required, what came, and the remedy.
"""

from __future__ import annotations

from collections.abc import Callable


class ToolkitError(Exception):
    """Base of every error the toolkit raises on purpose."""


class ModelError(ToolkitError, ValueError):
    """The file, bytes or proto is not a usable ONNX model."""


class UnsupportedOperatorError(ModelError):
    """The model holds operators that no available backend can run; the message lists all of them."""


class GraphError(ToolkitError, ValueError):
    """An edit, a selection or a wiring of the graph that cannot be done."""


class ShapeError(ToolkitError, ValueError):
    """Shapes or element types that do not fit the operator that gets them."""


class DataDependentShapeError(ShapeError):
    """A shape or type that depends on the data, where it has to be known before the data is there."""


class InputError(ToolkitError, ValueError):
    """Data handed to a context, a trainer or a command does not fit."""


class BackendError(ToolkitError, RuntimeError):
    """A backend is not available, or one of its kernels failed."""


class TrainingError(ToolkitError, RuntimeError):
    """A training run cannot start or cannot go on."""


class NotDifferentiableError(TrainingError):
    """No gradient leads from the loss to something that must learn."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the step that met it updated nothing."""


MALFORMED = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, MemoryError)
"""What Python and numpy raise in code that meets a layer or data it was not written for."""


class naming:  # noqa: N801  # reads as what it does: ``with naming(...)``
    """Turn what goes wrong with one layer into the error that ``describe(what was said)`` makes of it.

    Errors of the toolkit pass as they are. It is entered for every node of every pass, so it is no generator.
    """

    __slots__ = ("_describe",)

    def __init__(self, describe: Callable[[str], ToolkitError]) -> None:
        self._describe = describe

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, MALFORMED) and not isinstance(error, ToolkitError):
            raise self._describe(said(error)) from error


def said(error: BaseException) -> str:
    """The message of an error without its full stop, or its kind where it has none."""
    return (str(error) or type(error).__name__).strip().splitlines()[0].removesuffix(".")


def malformed(operator: str, layer: str, why: str) -> ShapeError:
    """The error for a layer whose inputs and attributes are not what its operator asks for."""
    return ShapeError(
        f"{operator} {layer!r}: its inputs and attributes must be those that the operator asks for, but {why}. "
        "Export the model again."
    )
