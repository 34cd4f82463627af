"""Operators: what each one means on every backend. Importing the package registers those of ONNX's default domain."""

from toolkit.operators.expression import OPSET, TOOLKIT_DOMAIN, Expression, emit
from toolkit.operators.families import FAMILIES, load_everything
from toolkit.operators.inference import attribute_defaults, infer_types, since_version
from toolkit.operators.record import REGISTRY, Call, Operator, data_dependent, lookup, not_differentiable, operator

__all__ = [
    "FAMILIES",
    "OPSET",
    "REGISTRY",
    "TOOLKIT_DOMAIN",
    "Call",
    "Expression",
    "Operator",
    "attribute_defaults",
    "data_dependent",
    "emit",
    "infer_types",
    "load_everything",
    "lookup",
    "not_differentiable",
    "operator",
    "since_version",
]
