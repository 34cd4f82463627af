"""Callbacks: whom ``Trainer.fit(callbacks=[...])`` tells of what happens.

``Callback`` is what one of your own derives from; ``write_report`` writes the page of ``Report`` at any other time.
"""

from toolkit.training.callbacks.callback import Callback
from toolkit.training.callbacks.early_stopping import EarlyStopping
from toolkit.training.callbacks.logs import Csv, JsonLines
from toolkit.training.callbacks.report import Report
from toolkit.training.callbacks.tensorboard import TensorBoard
from toolkit.training.reporting import write_report
from toolkit.training.run import Run

__all__ = ["Callback", "Csv", "EarlyStopping", "JsonLines", "Report", "Run", "TensorBoard", "write_report"]
