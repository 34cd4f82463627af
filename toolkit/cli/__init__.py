"""The command line: reads files, calls the public names of the toolkit, and reports. It computes nothing itself."""

from toolkit.cli.application import main, program

__all__ = ["main", "program"]
