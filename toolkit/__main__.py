"""``python -m toolkit`` is ``onnx-toolkit``."""

from toolkit.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
