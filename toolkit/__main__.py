"""``python -m toolkit`` is ``onnx-toolkit``."""

from toolkit.cli import program

if __name__ == "__main__":
    program()
