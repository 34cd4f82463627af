"""What the random operators draw: their distributions, their seeds, and whose generator they use."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.operators.record import lookup


def draw(op_type: str, *inputs: np.ndarray, **attributes: object) -> np.ndarray:
    record = lookup("", op_type, 22)
    assert record is not None and record.reference is not None and record.is_random
    return record.reference(*inputs, random=np.random.default_rng(5), **attributes)


def test_normal_has_its_mean_and_scale() -> None:
    drawn = draw("RandomNormal", shape=[20000], mean=3.0, scale=0.5)
    assert drawn.mean() == pytest.approx(3.0, abs=0.02)
    assert drawn.std() == pytest.approx(0.5, abs=0.02)


def test_uniform_fills_its_range() -> None:
    drawn = draw("RandomUniformLike", np.zeros(20000, np.float32), low=-1.0, high=3.0)
    assert drawn.mean() == pytest.approx(1.0, abs=0.05)
    assert -1.0 <= drawn.min() < -0.99 and 2.99 < drawn.max() <= 3.0


def test_bernoulli_follows_its_probabilities() -> None:
    drawn = draw("Bernoulli", np.repeat(np.array([[0.0], [0.25], [1.0]], np.float32), 20000, axis=1))
    np.testing.assert_allclose(drawn.mean(axis=1), [0.0, 0.25, 1.0], atol=0.02)


def test_multinomial_follows_its_log_probabilities() -> None:
    logits = np.log(np.array([[0.1, 0.2, 0.7], [1.0, 1.0, 2.0]], np.float32))
    drawn = draw("Multinomial", logits, sample_size=20000)
    shares = np.stack([np.bincount(row, minlength=3) / 20000 for row in drawn])
    np.testing.assert_allclose(shares, [[0.1, 0.2, 0.7], [0.25, 0.25, 0.5]], atol=0.02)


def test_a_seed_repeats_and_the_context_s_generator_moves_on() -> None:
    record = lookup("", "RandomUniform", 22)
    assert record is not None and record.reference is not None
    generator = np.random.default_rng(1)
    seeded = [record.reference(shape=[4], seed=2.5, random=generator) for _ in range(2)]
    np.testing.assert_array_equal(*seeded)
    moving = [record.reference(shape=[4], random=generator) for _ in range(2)]
    assert not np.array_equal(*moving)
    assert not np.array_equal(seeded[0], record.reference(shape=[4], seed=3.5))
