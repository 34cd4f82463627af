"""ONNX's default domain, and the fused forms and gradients of its operators; one family a file."""
