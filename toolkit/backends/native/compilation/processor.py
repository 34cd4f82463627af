"""The processor that kernels are compiled for: what LLVM calls it, what it can do, and how to tell it without LLVM."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

LANES = (("avx512f", 64), ("avx", 32))  # bytes of the vectors of a processor that has the feature
USUAL_WIDTH = 16  # bytes, where it has neither
WITH_MORE_REGISTERS = "avx512f"  # the feature of processors that hold 32 vectors, others hold 16
WITH_BFLOAT16 = ("avx512bf16", "bf16")  # features of processors that round to it
MULTIPLYING_BFLOAT16 = "avx512bf16"  # the feature of processors that multiply its pairs in vectors of 64 bytes
WITH_HALVES = ("f16c", "fullfp16", "fp-armv8")  # features of processors that convert floats of half width
CPUINFO = Path("/proc/cpuinfo")
LASTING = {"vendor_id", "cpu family", "model", "model name", "stepping", "flags"}  # lines that are no measurement


class Processor(NamedTuple):
    """``name`` and ``features`` (``+avx2,-avx512f,...``) are LLVM's."""

    name: str
    features: str

    @property
    def vector_nbytes(self) -> int:
        """Bytes of its widest vectors."""
        return next((width for feature, width in LANES if self._has(feature)), USUAL_WIDTH)

    @property
    def registers(self) -> int:
        """How many vectors it holds."""
        return 32 if self._has(WITH_MORE_REGISTERS) else 16

    @property
    def converts_halves(self) -> bool:
        """Whether it has instructions for floats of half width."""
        return any(self._has(feature) for feature in WITH_HALVES)

    @property
    def rounds_bfloat16(self) -> bool:
        """Whether it has instructions that round to bfloat16."""
        return any(self._has(feature) for feature in WITH_BFLOAT16)

    @property
    def multiplies_bfloat16(self) -> bool:
        """Whether it adds up products of pairs of bfloat16 in float32, a whole vector at once."""
        return self._has(MULTIPLYING_BFLOAT16) and self._has(WITH_MORE_REGISTERS)

    def _has(self, feature: str) -> bool:
        return f"+{feature}" in self.features.split(",")


def identity() -> str | None:
    """What tells the processor of this machine from others; ``None`` where the system does not say it."""
    try:
        first = CPUINFO.read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0]
    except OSError:
        return None
    lines = [line for line in first.splitlines() if line.split("\t")[0].split(":")[0].strip() in LASTING]
    return "\n".join(lines) if any(line.startswith("flags") for line in lines) else None
