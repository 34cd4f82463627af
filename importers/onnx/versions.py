"""Opset imports: which version of a domain a node was written for, and which versions can be read at all."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import OperatorSetIdProto

from importers.onnx.origin import OpsetOrigin
from importers.onnx.residue import text
from toolkit.errors import ModelError

ALIASES = {"ai.onnx": ""}
NEWEST: dict[str, int] = {
    "": onnx.defs.onnx_opset_version(),
    "ai.onnx.ml": onnx.defs.onnx_ml_opset_version(),
}
FIRST_IR_WITH_OPSETS = 3


def plain_domain(domain: str) -> str:
    """A domain without its alias: ``ai.onnx`` is the default domain."""
    return ALIASES.get(domain, domain)


def check_ir_version(version: int, label: str) -> None:
    """Raises ``ModelError`` for an IR version that onnx does not know."""
    if not 1 <= version <= onnx.IR_VERSION:
        raise ModelError(
            f"{label} has IR version {version}; onnx {onnx.__version__} reads 1 to {onnx.IR_VERSION}. "
            + ("Upgrade onnx, or export for an older version." if version > 0 else "Export the model again.")
        )


def read_opsets(
    imports: Sequence[OperatorSetIdProto], label: str, ir_version: int = onnx.IR_VERSION
) -> tuple[dict[str, int], tuple[OpsetOrigin, ...]]:
    """Versions by domain, and the records of the imports. Raises ``ModelError`` for missing or unknown versions."""
    if not imports and ir_version < FIRST_IR_WITH_OPSETS:
        return {"": 1}, (OpsetOrigin("", 1, b""),)
    if not imports:
        raise ModelError(
            f"{label} imports no operator set; every model must. It is truncated or was not exported whole."
        )
    versions: dict[str, int] = {}
    records = []
    for item in imports:
        domain, version = plain_domain(text(item.domain)), item.version
        newest = NEWEST.get(domain)
        if version < 1 or (newest is not None and version > newest):
            raise ModelError(
                f"{label} imports opset {version} of {item.domain or 'ai.onnx'!r}; onnx {onnx.__version__} knows "
                f"1 to {newest or 'any'}. Upgrade onnx, or export for an older opset."
            )
        if versions.setdefault(domain, version) != version:
            raise ModelError(
                f"{label} imports {item.domain or 'ai.onnx'!r} as opset {versions[domain]} and as opset {version}; "
                "one is required. Export the model again."
            )
        records.append(OpsetOrigin(domain, version, item.SerializeToString()))
    return versions, tuple(records)


def version_of(domain: str, opsets: dict[str, int]) -> int:
    """The version of a node's domain; one that is not imported counts as the newest known, or 1."""
    return opsets.get(domain) or NEWEST.get(domain, 1)
