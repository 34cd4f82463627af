"""Recurrent layers: ``inference`` of few sequences, ``forward`` and ``backward`` of many."""
