"""The operators of domain ``ai.onnx.ml``: trees, support vectors, linear models, encoders, scaling, maps."""
