"""``ai.onnx.ml``: trees, linear models, support vectors and scaling, a row of features at a time."""
