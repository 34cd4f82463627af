"""How a large product is cut into blocks that suit the caches, and into shares for threads: arithmetic alone."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from toolkit.backends.native.products.tile import DEPTH, FLOAT32, most_rows, width

ENOUGH_BLOCKS = 22  # of rows for a thread: with fewer it would fetch panels for too little, and they are shared out
MOST_BLOCKS = 22  # of rows in a group, whose sums share the first cache with a block of a panel
MOST_PACKED = 1 << 16  # numbers of a left factor in a group, half of the second cache
ALIGNED = 64  # numbers by which parts of a workspace are rounded up
LINE = 16  # numbers in a line of the caches

Whole = TypeVar("Whole")


class Cut(NamedTuple, Generic[Whole]):
    """Whole numbers that say how a product is cut.

    - Blocks of rows are ``height`` high, the first ``higher`` of them one row higher. A thread goes through its
      blocks in groups of ``group``.
    - Threads share the work in ``across`` parts of the rows by ``along`` parts of the panels.
    - ``step`` is the depth of a block, ``passes`` passes of ``pass_steps`` blocks make up ``depth``.
    - Each thread has a workspace of ``size`` numbers: the packed left factor, ``block_size`` for each block of the
      depth; from ``sums_at`` on sums, ``kept_size`` for each panel; from ``spare_at`` on a block of a panel.
    - ``lines`` lines of the next block are fetched while a block of rows is computed.
    - ``left_stride`` and ``right_stride`` are how far apart in memory the rows of the factors lie, or where it is
      their transposes that lie row by row, those of these.
    """

    depth: Whole
    columns: Whole
    panels: Whole
    across: Whole
    along: Whole
    blocks: Whole
    height: Whole
    higher: Whole
    group: Whole
    step: Whole
    pass_steps: Whole
    passes: Whole
    block_size: Whole
    kept_size: Whole
    sums_at: Whole
    spare_at: Whole
    size: Whole
    lines: Whole
    left_stride: Whole
    right_stride: Whole


def cut(rows: int, depth: int, columns: int, threads: int, left_stride: int, right_stride: int) -> Cut[int]:
    """How a product of ``rows`` by ``depth`` by ``columns`` is cut for so many threads."""
    panels, least = -(-columns // width()), -(-rows // most_rows())
    parts = [count for count in range(1, threads + 1) if threads % count == 0 and least >= count * ENOUGH_BLOCKS]
    across = max(parts, default=1)
    along = min(threads // across, panels)
    blocks = -(-least // across) * across
    height, higher = divmod(rows, blocks)
    group = evenly(blocks // across, MOST_BLOCKS)
    group_rows = group * (height + bool(higher))
    step = _up(evenly(depth, DEPTH), 8)
    pass_steps = evenly(-(-depth // step), max(1, MOST_PACKED // (group_rows * step)))
    passes = -(-depth // (step * pass_steps))
    sums_at = pass_steps * group_rows * DEPTH
    spare_at = sums_at + (-(-panels // along) if passes > 1 else 1) * group_rows * width()
    return Cut(
        depth=depth,
        columns=columns,
        panels=panels,
        across=across,
        along=along,
        blocks=blocks,
        height=height,
        higher=higher,
        group=group,
        step=step,
        pass_steps=pass_steps,
        passes=passes,
        block_size=group_rows * DEPTH,
        kept_size=group_rows * width() if passes > 1 else 0,
        sums_at=sums_at,
        spare_at=spare_at,
        size=_up(spare_at + step * width(), ALIGNED),
        lines=-(-step * -(-width() // LINE) // group),
        left_stride=left_stride,
        right_stride=right_stride,
    )


def workspace_nbytes(found: Cut[int], threads: int) -> int:
    """Bytes of scratch memory for all threads."""
    return threads * found.size * FLOAT32.itemsize


def evenly(count: int, most: int) -> int:
    """How many at a time, ``most`` or fewer, so that the last time has little less to do."""
    return -(-count // -(-count // most))


def _up(count: int, unit: int) -> int:
    return -(-count // unit) * unit
