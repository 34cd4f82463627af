"""All hostile files by name: importing this fills ``NAMED``."""

from tests.hostile import computations, files, sizes, structures
from tests.hostile.table import NAMED

FAMILIES = (computations, files, sizes, structures)

__all__ = ["FAMILIES", "NAMED"]
