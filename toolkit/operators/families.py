"""The one list of operator families; importing it registers every record. A new family is one more line here."""

from importlib import import_module

FAMILIES: tuple[str, ...] = (
    "arithmetic",
    "cast",
    "elementwise",
    "logic",
    "ranking",
    "reduction",
)

for _family in FAMILIES:
    import_module(f"toolkit.operators.{_family}")
