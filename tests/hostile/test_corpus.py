"""The corpus of hostile files: whatever a file holds, the toolkit uses it or says in its own words what is wrong.

More than 10,000 files, made from names, from seeds with damage, and from single operators, are loaded, written, loaded
again and run, in processes that any of them may kill: no crash, no hang, no allocation beyond a limit, and no error but
the toolkit's own. A failure names the seed, the kind and the number: ``damaged(seed, kind, number)`` is the file.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from tests.hostile.mutation import content_of, damage_bytes, damage_message, damage_value, damaged
from tests.hostile.named import NAMED
from tests.hostile.pool import Worker, answers, failures
from tests.hostile.seeds import SEEDS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the limits of a process are those of Linux"),
]

DAMAGED = {"bytes": 200, "messages": 170, "values": 150}  # files of each seed
OPERATORS = 3000
LEAST = 10_000
MEMORY = 5 << 30  # bytes; the address space of a worker is limited, this is what it may really use


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    with Worker() as started:
        yield started


@pytest.fixture(scope="module")
def named(worker: Worker) -> dict[str, dict]:
    return {name: worker.ask({"named": name}) for name in NAMED}


@pytest.mark.parametrize("name", NAMED)
def test_named_file(name: str, named: dict[str, dict]):
    answer, expected = named[name], NAMED[name].error
    assert answer["verdict"] == ("accepted" if expected is None else "refused"), answer
    assert expected is None or re.search(expected, answer["error"]), answer
    assert answer["peak"] < MEMORY


def corpus() -> Iterator[dict]:
    for kind, count in DAMAGED.items():
        for number in range(count):
            yield from ({"seed": seed, "kind": kind, "number": number} for seed in SEEDS)
    yield from ({"seed": "", "kind": "operators", "number": number} for number in range(OPERATORS))


def test_damaged_files():
    done = answers(corpus())
    assert len(done) >= LEAST
    report = failures(done)
    assert not report, report
    verdicts = [answer["verdict"] for _, answer in done]
    assert verdicts.count("accepted") > len(done) // 10, "the damage is so great that nothing reaches the kernels"
    assert max(answer["peak"] for _, answer in done) < MEMORY


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.sampled_from(list(SEEDS)),
    steps=st.lists(st.sampled_from([damage_bytes, damage_message, damage_value]), min_size=1, max_size=4),
    chance=st.randoms(use_true_random=False),
)
def test_damage_that_hypothesis_chooses(worker: Worker, seed: str, steps: list, chance: random.Random):
    content = content_of(seed)
    for damage in sorted(steps, key=lambda step: step is damage_bytes):  # messages while the bytes are still protobuf
        if damage is damage_bytes:
            changed = bytearray(content)
            damage_bytes(changed, chance)
            content = bytes(changed)
        else:
            model = ModelProto.FromString(content)
            damage(model, chance)
            content = model.SerializeToString()
    answer = worker.ask({"content": content.hex()})
    assert answer["verdict"] != "failed", answer


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_is_a_model_that_runs(seed: str, worker: Worker):
    answer = worker.ask({"content": content_of(seed).hex()})
    assert answer["verdict"] == "accepted", answer


def test_damage_is_reproducible():
    for kind in (*DAMAGED, "operators"):
        assert damaged("attention", kind, 7) == damaged("attention", kind, 7)


def test_a_worker_survives_what_kills_it(worker: Worker):
    assert worker.ask({"no such job": 1})["verdict"] == "failed"
    assert worker.ask({"content": content_of("functions").hex()})["verdict"] == "accepted"
    process = worker._started()
    process.kill()
    assert worker.ask({"content": ""})["error"] == "the process ended with status -9"
    assert worker.ask({"content": ""})["verdict"] == "refused"
