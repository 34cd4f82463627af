"""What kernels of small convolutions have in common: places, the input with its margin, and what comes behind sums."""

from __future__ import annotations

from toolkit.backends.native.assembly.code import Code
from toolkit.backends.native.assembly.number import Number
from toolkit.backends.native.assembly.team import Team
from toolkit.backends.native.compilation.compiler import compiler
from toolkit.backends.native.convolution.geometry import Geometry
from toolkit.backends.native.images.windows import FLOAT32, HEAD
from toolkit.backends.native.products.ending import Activation
from toolkit.backends.protocol import Layout
from toolkit.compiler.program import Node

WORTH_A_THREAD, OF_CHANNELS = 1 << 18, 1 << 17  # multiplications from which others help, and where channels are apart


class Writer:
    """Writes the code of a kernel: a kind of them says how a weight lies, and what is done for an item of the batch."""

    own_numbers = 0  # of a thread's own copy of what it reads with margins; 0 where all threads copy the image together

    def __init__(self, node: Node, geometry: Geometry, threads: int) -> None:
        addends = [item for item in node.inputs[2:] if item is not None]
        self.geometry, self.lanes = geometry, compiler().lanes(FLOAT32)
        image = geometry.image
        self.code = Code(3 + len(addends) + image.has_margin)
        places = iter(self.code.places)
        self.given, self.weight = next(places), next(places)
        self._addends = [(next(places), item.shape == node.y.shape) for item in addends]
        self._target = next(places)
        self.image = next(places, self.given)
        self._activation = Activation.of(node)
        is_copied_together = image.has_margin and not self.own_numbers
        if geometry.products < (OF_CHANNELS if geometry.is_depthwise else WORTH_A_THREAD):
            threads = 1
        self.workspace = threads * self.own_numbers * FLOAT32.itemsize if self.own_numbers else image.workspace
        self.team = Team(self.code, threads, self.image if is_copied_together else "")
        self.own = self.team.number * self.own_numbers
        meet = self.team.barrier() if is_copied_together else None
        with self.code.loop(geometry.batch) as item:
            first = item * image.numbers
            if meet is not None:
                image.copy(self.code, self.given, first, self.image, 0.0, self.team)
                first = self.code.index(HEAD)
                meet()
            self.write(item, first)
            if meet is not None and geometry.batch > 1:
                meet()

    def write(self, item: Number, first: Number) -> None:
        """The code for one item of the batch, whose image begins at ``first``."""
        raise NotImplementedError

    def weight_layout(self, node: Node) -> Layout:
        """How the weight is to lie."""
        raise NotImplementedError

    def finish(self, total: Number, channel: Number, at: Number, count: int) -> None:
        """What comes behind the sums, for ``count`` neighbouring positions of one channel, in one vector."""
        for place, is_whole in self._addends:
            if is_whole:
                total = total + self.code.load_some(place, at, FLOAT32, count, total.lanes)
            else:
                total = total + self.code.load(place, channel, FLOAT32).spread(total.lanes)
        self.code.store_some(self._activation(total), self._target, at, count)
