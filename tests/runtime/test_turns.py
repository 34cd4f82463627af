"""Contexts that do their batch in turns give what contexts give that do it at once."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.models import cnn, feed
from toolkit.compiler.program import Program
from toolkit.runtime import context as module
from toolkit.runtime.cache import state_of
from toolkit.runtime.context import Context

BATCH, ITEMS = 6, 2


@pytest.fixture(autouse=True)
def two_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def items_at_once(program: Program, batch_size: int) -> int:
        return ITEMS if batch_size == BATCH else batch_size

    monkeypatch.setattr(module, "items_at_once", items_at_once)


@pytest.fixture(params=["cpu", "numpy"])
def context(request: pytest.FixtureRequest) -> Context:
    made = cnn().context(BATCH, backend=request.param)
    assert made.explain().turns == BATCH // ITEMS
    return made


def wanted(context: Context, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """What a context of one item says."""
    alone = context.network.context(1, backend="numpy")
    return np.vstack([alone.run({"x": feeds["x"][item : item + 1]})["y"] for item in range(BATCH)])


def test_the_batch_is_done(context: Context) -> None:
    feeds = feed(context.network, BATCH)
    first = context.run(feeds)["y"]
    np.testing.assert_allclose(first, wanted(context, feeds), rtol=1e-4, atol=1e-5)
    kept, others = first.copy(), {"x": -feeds["x"]}
    np.testing.assert_allclose(context.run(others)["y"], wanted(context, others), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(first, kept, err_msg="a result belongs to the caller")


def test_results_are_written_where_the_caller_wants_them(context: Context) -> None:
    feeds = feed(context.network, BATCH)
    out = {"y": np.empty_like(context.run(feeds)["y"])}
    assert context.run({"x": feeds["x"].tolist()}, out)["y"] is out["y"]
    np.testing.assert_allclose(out["y"], wanted(context, feeds), rtol=1e-4, atol=1e-5)


def test_several_batches(context: Context) -> None:
    batches = [feed(context.network, BATCH, seed=seed) for seed in range(3)]
    for feeds, found in zip(batches, context.stream(batches), strict=True):
        np.testing.assert_allclose(found["y"], wanted(context, feeds), rtol=1e-4, atol=1e-5)


def test_parameters_are_followed(context: Context) -> None:
    feeds = feed(context.network, BATCH)
    before = context.run(feeds)["y"]
    for parameter in context.network.parameters.values():
        parameter.assign(parameter.array * 0.5)
    found = context.run(feeds)["y"]
    assert not np.allclose(found, before)
    np.testing.assert_allclose(found, wanted(context, feeds), rtol=1e-4, atol=1e-5)


def test_the_report_says_so(context: Context) -> None:
    context.profile()
    context.run(feed(context.network, BATCH))
    report = context.explain()
    assert "3 turns, each for a part of the batch" in str(report)
    for step in report.steps:
        times = sorted(seconds for _, seconds in step.spans)
        assert step.milliseconds == pytest.approx(times[1] * 3e3), "of all turns"
    assert context.arena_nbytes < context.network.context(BATCH * 2, backend="numpy").arena_nbytes


def test_a_second_context_is_planned_from_the_same_program(context: Context) -> None:
    programs = len(state_of(context.network).programs)
    second = context.network.context(BATCH, backend=context._backends[0].name)
    assert len(state_of(context.network).programs) == programs
    feeds = feed(context.network, BATCH)
    np.testing.assert_array_equal(second.run(feeds)["y"], context.run(feeds)["y"])


def test_training_has_the_whole_batch() -> None:
    assert cnn().context(BATCH, training=True).explain().turns == 1
