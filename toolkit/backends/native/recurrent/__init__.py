"""Recurrent layers: ``inference`` of few sequences, ``forward`` and ``backward`` of many."""

from toolkit.backends.native.recurrent import backward, forward, inference

__all__ = ["backward", "forward", "inference"]
