"""Data for training: where it comes from, how it is cut into batches, and in which order.

``Trainer.fit`` and ``evaluate`` take ``(x, labels)`` as arrays, files, folders of images, datasets and iterables of
others, or a ``Batches`` for those who want to settle the details. No framework is imported to read its tensors.
"""

from toolkit.runtime.lossless import feeds_of
from toolkit.training.data.augmentation import Augmentation
from toolkit.training.data.augmented import Augmented
from toolkit.training.data.batches import Batches
from toolkit.training.data.files import from_csv, from_file, from_npy, from_npz
from toolkit.training.data.images import ImageFolder
from toolkit.training.data.items import Items, StreamedItems
from toolkit.training.data.sampling import class_weights, item_weights, split
from toolkit.training.data.source import ArraySource, Batch, Source, Subset

__all__ = [
    "ArraySource",
    "Augmentation",
    "Augmented",
    "Batch",
    "Batches",
    "ImageFolder",
    "Items",
    "Source",
    "StreamedItems",
    "Subset",
    "class_weights",
    "feeds_of",
    "from_csv",
    "from_file",
    "from_npy",
    "from_npz",
    "item_weights",
    "split",
]
