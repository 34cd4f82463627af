"""Normalisation: of ``rows`` and by ``row_gradients``, and by the statistics of image ``batches`` with ``clipping``."""
