"""The CPU backend: oneDNN through ctypes, one file per operator family."""

from toolkit.backends.onednn.library import available, unavailable_reason

__all__ = ["available", "unavailable_reason"]
