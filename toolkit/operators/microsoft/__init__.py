"""Operators of onnxruntime's domain com.microsoft; ONNX has no schemas for them, so each brings its shape rule."""
