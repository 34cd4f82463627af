"""The one list of operator families; importing it registers every record. A new family is one more line here."""

from importlib import import_module

FAMILIES: tuple[str, ...] = (
    "activation",
    "activation_operators",
    "arithmetic",
    "batch_normalization",
    "cast",
    "constant",
    "control_flow",
    "convolution",
    "convolution_gradient",
    "dropout",
    "elementwise",
    "global_pooling",
    "indexing",
    "joining",
    "layer_normalization",
    "linear",
    "logic",
    "loss",
    "movement",
    "normalization",
    "optimization",
    "optionals",
    "pooling",
    "pooling_gradient",
    "random_values",
    "ranking",
    "reduction",
    "reverse_sequence",
    "sequences",
    "slicing",
    "softmax",
    "transposed_convolution",
)

for _family in FAMILIES:
    import_module(f"toolkit.operators.{_family}")
