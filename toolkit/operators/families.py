"""The one list of operator families; importing it registers every record. A new family is one more line here."""

from importlib import import_module

FAMILIES: tuple[str, ...] = (
    # one module of this package a line
)

for _family in FAMILIES:
    import_module(f"toolkit.operators.{_family}")
