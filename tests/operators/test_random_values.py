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


def test_multinomial_takes_unnormalised_and_impossible_classes() -> None:
    logits = np.array([[900.0, -np.inf, 900.0], [-np.inf, -3.0, -np.inf]], np.float32)
    drawn = draw("Multinomial", logits, sample_size=4000, dtype=7)
    assert drawn.dtype == np.int64 and drawn.shape == (2, 4000)
    np.testing.assert_allclose(np.bincount(drawn[0], minlength=3) / 4000, [0.5, 0, 0.5], atol=0.03)
    assert (drawn[1] == 1).all()


def test_samples_are_independent() -> None:
    drawn = draw("Multinomial", np.zeros((2, 2), np.float32), sample_size=20000)
    assert abs(np.corrcoef(drawn)[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[0, :-1], drawn[0, 1:])[0, 1]) < 0.03


@pytest.mark.parametrize("op_type", ["RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"])
@pytest.mark.parametrize(("number", "name"), [(1, "float32"), (10, "float16"), (11, "float64"), (16, "bfloat16")])
def test_numbers_have_the_element_type_asked_for(op_type: str, number: int, name: str) -> None:
    like = op_type.endswith("Like")
    drawn = draw(
        op_type, *([np.zeros((2, 3), np.int32)] if like else []), dtype=number, **({} if like else {"shape": [2, 3]})
    )
    assert (drawn.dtype.name, drawn.shape) == (name, (2, 3))


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "RandomUniformLike"])
def test_random_numbers_are_floating_point(op_type: str) -> None:
    with pytest.raises(ValueError, match="must be a floating-point one, got int32: set the attribute dtype"):
        draw(op_type, np.zeros(3, np.int32))


@pytest.mark.parametrize("op_type", ["Bernoulli", "Multinomial", "RandomNormalLike", "RandomUniformLike"])
def test_every_operator_heeds_its_seed(op_type: str) -> None:
    given = np.full((4, 50), 0.5, np.float32)
    more = {"sample_size": 50} if op_type == "Multinomial" else {}
    first, again, other = (draw(op_type, given, seed=seed, **more) for seed in (1.5, 1.5, -1.5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="scale, the standard deviation, must be 0 or more, got -1"):
        draw("RandomNormal", shape=[2], scale=-1.0)
    with pytest.raises(ValueError, match=r"must be \(batch, classes\) with a class at least, got \(3,\)"):
        draw("Multinomial", np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="sample_size must be positive, got 0"):
        draw("Multinomial", np.zeros((1, 3), np.float32), sample_size=0)
