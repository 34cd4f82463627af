"""Adapters: few new numbers beside frozen weights, several sets of them on one network, and their way into files.

``lora(network, "encoder/*", rank=8)`` adds one, ``activate`` switches between them, ``merged`` and ``exposed`` give
networks to save, ``exporters.save_adapter`` writes the adapter alone.
"""

from toolkit.graph.adapter_tensors import AdapterTensors
from toolkit.training.adapters.adapter import Adapter
from toolkit.training.adapters.creation import attach, dora, lora
from toolkit.training.adapters.forms import activate, exposed, installed, merge, merged

__all__ = ["Adapter", "AdapterTensors", "activate", "attach", "dora", "exposed", "installed", "lora", "merge", "merged"]
