"""The one list of operator families; importing it registers every record. A new family is one more line here."""

from importlib import import_module

FAMILIES: tuple[str, ...] = (
    "activation",
    "activation_operators",
    "arithmetic",
    "cast",
    "convolution",
    "convolution_gradient",
    "elementwise",
    "linear",
    "logic",
    "ranking",
    "reduction",
    "transposed_convolution",
)

for _family in FAMILIES:
    import_module(f"toolkit.operators.{_family}")
