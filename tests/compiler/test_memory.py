"""The arena planner: tensors alive together never share bytes, and the arena is no larger than their sum."""

from hypothesis import given
from hypothesis import strategies as st

from toolkit.compiler.memory import ALIGNMENT, Lifetime, align, plan_arena

lifetimes = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(0, 30), st.integers(0, 10)).map(
        lambda item: Lifetime(item[0], item[1], item[1] + item[2])
    ),
    max_size=40,
)


@given(lifetimes)
def test_tensors_alive_together_never_overlap(items: list[Lifetime]) -> None:
    size = plan_arena(items)
    for index, one in enumerate(items):
        assert one.offset % ALIGNMENT == 0
        assert one.offset + one.nbytes <= size
        for other in items[:index]:
            together = one.first <= other.last and other.first <= one.last
            apart = one.offset + one.nbytes <= other.offset or other.offset + other.nbytes <= one.offset
            assert not together or apart or not one.nbytes or not other.nbytes


@given(lifetimes)
def test_arena_is_at_most_the_sum_of_its_tensors(items: list[Lifetime]) -> None:
    assert plan_arena(items) <= sum(align(item.nbytes) for item in items)


def test_a_chain_needs_two_buffers() -> None:
    chain = [Lifetime(1024, step, step + 1) for step in range(20)]
    assert plan_arena(chain) == 2048
