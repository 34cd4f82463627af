"""The arena planner: tensors alive together never share bytes, and the arena is no larger than their sum.

Lent memory is used while its owners do not need it.
"""

from hypothesis import given
from hypothesis import strategies as st

from toolkit.compiler.memory import ALIGNMENT, Lifetime, Region, align, plan_arena

lifetimes = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 10)).map(
        lambda item: Lifetime(item[0], item[1], item[1] + item[2])
    ),
    max_size=40,
)


def require_apart(items: list[Lifetime], size: int) -> None:
    """Each within ``size`` bytes, and no two that are alive together on the same ones."""
    for index, one in enumerate(items):
        assert one.offset % ALIGNMENT == 0
        assert one.offset + one.nbytes <= size
        for other in items[:index]:
            together = one.first <= other.last and other.first <= one.last
            apart = one.offset + one.nbytes <= other.offset or other.offset + other.nbytes <= one.offset
            assert not together or apart or not one.nbytes or not other.nbytes


@given(lifetimes)
def test_tensors_alive_together_never_overlap(items: list[Lifetime]) -> None:
    require_apart(items, plan_arena(items))


@given(lifetimes, st.lists(st.tuples(st.integers(1, 5000), st.integers(-1, 40)), max_size=8), st.integers(0, 8))
def test_lent_memory_is_used_while_its_owners_do_not_need_it(
    items: list[Lifetime], gradients: list[tuple[int, int]], cut: int
) -> None:
    regions = []
    for rows in (gradients[:cut], gradients[cut:]):
        starts = [sum(align(nbytes) for nbytes, _ in rows[:index]) for index in range(len(rows) + 1)]
        owners = [Lifetime(nbytes, first, 41, start) for (nbytes, first), start in zip(rows, starts[:-1], strict=True)]
        regions.append(Region(starts[-1], owners))
    size = plan_arena(items, regions=regions)
    require_apart([item for item in items if item.region is None], size)
    for number, region in enumerate(regions):
        require_apart([*region.owners, *(item for item in items if item.region == number)], region.nbytes)


def test_what_is_kept_lies_in_the_memory_of_gradients_that_come_later() -> None:
    steps = range(4)
    kept = [Lifetime(1024, step, 7 - step) for step in steps]  # made in order, read in reverse
    gradients = [Lifetime(1024, 7 - step, 8, 1024 * step) for step in steps]
    assert plan_arena(kept, regions=[Region(4096, gradients)]) == 1024  # that of the last gradient's own step
    assert [item.region for item in kept].count(0) == 3


@given(lifetimes)
def test_arena_is_at_most_the_sum_of_its_tensors(items: list[Lifetime]) -> None:
    assert plan_arena(items) <= sum(align(item.nbytes) for item in items)


def test_a_chain_needs_two_buffers() -> None:
    chain = [Lifetime(1024, step, step + 1) for step in range(20)]
    assert plan_arena(chain) == 2048
