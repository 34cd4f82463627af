"""Rematerialisation: the same gradients from less memory, by layers or by a budget."""

import re
from functools import cache

import numpy as np
import pytest

import toolkit as tk
from tests.support import models
from toolkit.autodiff import normalised_again
from toolkit.autodiff.recomputation import ForwardPass
from toolkit.autodiff.rematerialisation import rematerialise
from toolkit.autodiff.rematerialisation_choices import lightly, matching_scope, segments, thoroughly
from toolkit.compiler.bind import bind
from toolkit.compiler.training_pipeline import tidy_after_differentiation
from toolkit.errors import GraphError, InputError, TrainingError
from toolkit.runtime.training_program import training_program

EVERYTHING = ["*"]
BACKENDS = ("numpy", "cpu")


def transformer():
    """Attention of two heads and a wide layer with Gelu, both normalised, added to what enters, and with Dropout."""
    vectors = dict.fromkeys(("s1", "t1", "s2", "t2"), (8,))
    made = models.network(
        """block (float[N, 6, 8] x) => (float[N, 6, 8] y)
        <int64[4] heads = {0, 6, 2, 4}, int64[3] joined = {0, 6, 8}, float scale = {0.5},
         float share = {0.3}, bool yes = {1}> {
            n1 = LayerNormalization (x, s1, t1)
            q = MatMul (n1, wq)
            k = MatMul (n1, wk)
            v = MatMul (n1, wv)
            q4 = Reshape (q, heads)
            k4 = Reshape (k, heads)
            v4 = Reshape (v, heads)
            qt = Transpose <perm = [0, 2, 1, 3]> (q4)
            kt = Transpose <perm = [0, 2, 3, 1]> (k4)
            vt = Transpose <perm = [0, 2, 1, 3]> (v4)
            scores = MatMul (qt, kt)
            scaled = Mul (scores, scale)
            weight = Softmax (scaled)
            dropped, mask = Dropout (weight, share, yes)
            mixed = MatMul (dropped, vt)
            back = Transpose <perm = [0, 2, 1, 3]> (mixed)
            flat = Reshape (back, joined)
            o = MatMul (flat, wo)
            h = Add (x, o)
            n2 = LayerNormalization (h, s2, t2)
            f1 = MatMul (n2, w1)
            g = Gelu (f1)
            d, mask2 = Dropout (g, share, yes)
            f2 = MatMul (d, w2)
            y = Add (h, f2)
        }""",
        **dict.fromkeys(("wq", "wk", "wv", "wo"), (8, 8)),
        **vectors,
        w1=(8, 32),
        w2=(32, 8),
    )
    return made, tk.losses.MeanSquaredError()


def recurrent():
    made = models.network(
        """lstm (float[N, 5, 4] x) => (float[N, 3] y) <int64[1] direction = {1}, int64[1] first = {0}> {
            xt = Transpose <perm = [1, 0, 2]> (x)
            seq, last, cell = LSTM <hidden_size = 6> (xt, w, r, b)
            s = Squeeze (seq, direction)
            t = Tanh (s)
            m = ReduceMean <keepdims = 0> (t, first)
            y = MatMul (m, wl)
        }""",
        w=(1, 24, 4),
        r=(1, 24, 6),
        b=(1, 48),
        wl=(6, 3),
    )
    return made, tk.losses.MeanSquaredError()


def noisy():
    """Random numbers that the backward pass needs once more."""
    made = models.network(
        """noisy (float[N, 8] x) => (float[N, 4] y) {
            h = MatMul (x, w1)
            noise = RandomNormalLike (h)
            bent = Exp (noise)
            m = Mul (h, bent)
            t = Tanh (m)
            y = MatMul (t, w2)
        }""",
        w1=(8, 16),
        w2=(16, 4),
    )
    return made, tk.losses.MeanSquaredError()


def residual(blocks, channels=8, size=8):
    """Blocks of two convolutions with normalisation by the batch, under paths ``stage/block0/...``, and Dropout."""
    h, text, weights = "x", "", {}
    for at in range(blocks):
        text += "".join(
            f"""c{at}{part} = Conv <pads = [1, 1, 1, 1]> ({source}, w{at}{part})
            n{at}{part}, m{at}{part}, v{at}{part} = BatchNormalization <training_mode = 1>
                (c{at}{part}, scale{at}{part}, shift{at}{part}, mean{at}{part}, variance{at}{part})
            """
            + (f"u{at} = Relu (n{at}a)\n" if part == "a" else "")
            for part, source in (("a", h), ("b", f"u{at}"))
        )
        text += f"a{at} = Add (n{at}b, {h})\n h{at} = Relu (a{at})\n"
        weights.update({f"w{at}{part}": (channels, channels, 3, 3) for part in "ab"})
        vectors = [f"{kind}{at}{part}" for kind in ("scale", "shift", "mean", "variance") for part in "ab"]
        weights.update(dict.fromkeys(vectors, (channels,)))
        h = f"h{at}"
    made = models.network(
        f"""r (float[N, {channels}, {size}, {size}] x) => (float[N, 5] y) <float share = {{0.4}}, bool yes = {{1}}> {{
            {text} d, mask = Dropout ({h}, share, yes)
            p = GlobalAveragePool (d)
            f = Flatten (p)
            y = Gemm <transB = 1> (f, last)
        }}""",
        **weights,
        last=(5, channels),
    )
    for name, item in made.parameters.items():
        if name.startswith(("scale", "variance")):
            item.assign(np.abs(item.array) + 0.5)
    for at, leaf in enumerate(made.graph.leaves[: 7 * blocks]):
        leaf.path = f"stage/block{at // 7}/{leaf.op_type}{at % 7}"
    return made, tk.losses.SoftmaxCrossEntropy()


NETWORKS = {
    "mlp": lambda: (models.mlp(), tk.losses.SoftmaxCrossEntropy()),
    "cnn": lambda: (models.cnn(), tk.losses.SoftmaxCrossEntropy()),
    "transformer": transformer,
    "recurrent": recurrent,
    "noisy": noisy,
    "residual": lambda: residual(blocks=3),
}


def trainer_of(made, **options):
    network, loss = made
    options = {"optimizer": tk.optimizers.SGD(0.1, momentum=0.9), "threads": 1, **options}
    return tk.Trainer(network, loss=loss, **options)


def batch(trainer, items=4):
    x = models.feed(trainer.network, items)
    shape = (items, *next(iter(trainer.network.outputs.values())).unit_shape)
    random = np.random.default_rng(5)
    if isinstance(trainer.loss, tk.losses.SoftmaxCrossEntropy):
        return x, random.integers(0, shape[-1], items)
    return x, random.standard_normal(shape).astype(np.float32)


def explained(trainer):
    return trainer._session.explain()


def repeated(trainer):
    return [step for step in explained(trainer).steps if step.is_recomputed]


def arrays_of(network):
    return {name: item.array.copy() for name, item in network.parameters.items()}


def require_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_stay_the_same(name, backend):
    plain = trainer_of(NETWORKS[name](), backend=backend)
    again = trainer_of(NETWORKS[name](), backend=backend, rematerialise=EVERYTHING)
    expected, found = plain.gradients(*batch(plain)), again.gradients(*batch(again))
    assert not repeated(plain) and repeated(again)
    assert any(array.any() for array in expected.values())
    require_same(found, expected)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["transformer", "residual", "noisy"])
def test_steps_stay_the_same_and_move_statistics_once(name, backend):
    found = []
    for asked in (None, EVERYTHING):
        trainer = trainer_of(NETWORKS[name](), backend=backend, rematerialise=asked, seed=7)
        losses = [trainer.train_minibatch(*batch(trainer))[0] for _ in range(3)]
        found.append((losses, arrays_of(trainer.network)))
    assert found[0][0] == found[1][0] and len(set(found[0][0])) == 3
    require_same(found[1][1], found[0][1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("asked", "at_most"), [(0.5, 0.5), (0.3, 0.3), (["stage/block?", "stage/block??"], 0.45)])
def test_a_deep_network_takes_less_memory(asked, at_most, backend):
    expected, nbytes = plain(24, backend)
    again = trainer_of(residual(24), backend=backend, rematerialise=asked)
    require_same(again.gradients(*batch(again)), expected)
    assert explained(again).arena_nbytes <= at_most * nbytes


@cache
def plain(blocks, backend):
    """The gradients of a network that keeps all that it needs, and how much memory that takes."""
    trainer = trainer_of(residual(blocks), backend=backend)
    return trainer.gradients(*batch(trainer)), explained(trainer).arena_nbytes


def test_bytes_are_a_budget_for_every_batch_size():
    trainer = trainer_of(residual(8), rematerialise=600_000)
    for items in (4, 2, 8):
        trainer.train_minibatch(*batch(trainer, items))
        assert explained(trainer).arena_nbytes <= 600_000
    roomy = trainer_of(residual(8), rematerialise=1 << 30)
    roomy.train_minibatch(*batch(roomy))
    assert not repeated(roomy)


def test_cheap_layers_come_before_convolutions():
    trainer = trainer_of(residual(12), rematerialise=0.8)
    trainer.gradients(*batch(trainer))
    assert repeated(trainer) and not any("Conv" in step.operator for step in repeated(trainer))
    assert explained(trainer).arena_nbytes < 0.8 * plain(12, "cpu")[1]
    trainer = trainer_of(residual(12), rematerialise=0.4)
    trainer.gradients(*batch(trainer))
    assert any("Conv" in step.operator for step in repeated(trainer))


def repeated_normalisation(trainer):
    return [step.layer for step in repeated(trainer) if step.operator == "toolkit::BatchNormalizationRepeated"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [8, 48])
def test_large_steps_repeat_normalisation_of_their_own_accord(size, backend, monkeypatch):
    monkeypatch.setattr(normalised_again, "LEAST_KEPT", 1)
    monkeypatch.setattr(normalised_again, "WORTH", 0.0)
    without = trainer_of(residual(3, size=size), backend=backend, rematerialise=False)
    again = trainer_of(residual(3, size=size), backend=backend)
    for _ in range(2):
        assert again.train_minibatch(*batch(again))[0] == without.train_minibatch(*batch(without))[0]
    require_same(arrays_of(again.network), arrays_of(without.network))
    assert not repeated(without)
    assert repeated_normalisation(again) == [f"stage/block{at}/BatchNormalization1" for at in (2, 1, 0)]
    assert explained(again).arena_nbytes < explained(without).arena_nbytes


def test_small_steps_and_quick_readers_repeat_nothing(monkeypatch):
    trainer = trainer_of(residual(2))
    trainer.gradients(*batch(trainer))
    assert not repeated(trainer)
    monkeypatch.setattr(normalised_again, "LEAST_KEPT", 1)
    monkeypatch.setattr(normalised_again, "WORTH", 1e9)
    trainer = trainer_of(residual(2))
    trainer.gradients(*batch(trainer))
    assert not repeated(trainer)


def test_normalisation_is_executed_again_elsewhere_than_on_the_host():
    program = program_of(residual(2))
    rematerialise(program, EVERYTHING, lambda program: 0, on_host=False)
    operators = {node.op_type for node in program.nodes if node.is_recomputed}
    assert "BatchNormalizationTraining" in operators and "BatchNormalizationRepeated" not in operators
    before = list(program_of(residual(2)).nodes)
    program = program_of(residual(2))
    rematerialise(program, None, lambda program: 0, on_host=False)
    assert len(program.nodes) == len(before)


def test_what_is_computed_again_is_marked():
    trainer = trainer_of(residual(2), rematerialise=["stage/block0"])
    trainer.gradients(*batch(trainer))
    steps = repeated(trainer)
    assert {step.role for step in steps} == {"backward"}
    assert {step.layer.rpartition("/")[0] for step in steps} == {"stage/block0"}
    assert "FusedConv [backward, computed again]" in str(explained(trainer))
    before = [step for step in explained(trainer).steps if not step.is_recomputed]
    assert {step.role for step in before} >= {"forward", "loss", "backward"}


def test_dropout_keeps_its_mask_and_draws_once():
    trainer = trainer_of(transformer(), rematerialise=EVERYTHING, backend="numpy")
    trainer.gradients(*batch(trainer))
    drawn = [step for step in explained(trainer).steps if step.operator == "Dropout"]
    assert len(drawn) == 2 and not any(step.is_recomputed for step in drawn)
    layers = {step.layer for step in drawn}
    assert {step.operator for step in repeated(trainer) if step.layer in layers} == {"Cast", "Mul"}


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout_of_a_ratio_that_is_computed(share, backend):
    def made():
        network = models.network(
            """dropping (float[N, 8] x, float share) => (float[N, 4] y) <bool yes = {1}> {
                h = MatMul (x, w1)
                half = Mul (share, share)
                d, mask = Dropout (h, half, yes)
                t = Tanh (d)
                y = MatMul (t, w2)
            }""",
            w1=(8, 16),
            w2=(16, 4),
        )
        return network, tk.losses.MeanSquaredError()

    found = []
    for asked in (None, EVERYTHING):
        trainer = trainer_of(made(), backend=backend, rematerialise=asked)
        x = {"x": models.feed(models.mlp(), 6)["x"], "share": np.float32(share)}
        found.append(trainer.gradients(x, np.ones((6, 4), np.float32)))
    assert "Where" in {step.operator for step in repeated(trainer)}
    require_same(found[1], found[0])


def test_a_budget_out_of_reach_names_what_can_be_reached():
    with pytest.raises(TrainingError, match=r"must fit into .* Ask for rematerialise=") as told:
        trainer = trainer_of(residual(8), rematerialise=0.05)
        trainer.gradients(*batch(trainer))
    least = int(re.findall(r"rematerialise=(\d+)", str(told.value))[-1])
    trainer = trainer_of(residual(8), rematerialise=least)
    trainer.gradients(*batch(trainer))
    assert explained(trainer).arena_nbytes <= least


@pytest.mark.parametrize("wrong", [0.0, 1.0, -0.5, 0, -3, True, [], [0.5], b"x", object()])
def test_what_cannot_be_asked_for(wrong):
    with pytest.raises(InputError, match="rematerialise must be patterns of layers such as"):
        trainer_of(NETWORKS["mlp"](), rematerialise=wrong)


def test_patterns_that_match_nothing():
    trainer = trainer_of(residual(1), rematerialise=["stage/*", "stag"])
    with pytest.raises(GraphError, match=r"nothing matches 'stag'\. Layers are named like 'stage/block0/Conv0'"):
        trainer.gradients(*batch(trainer))


@pytest.mark.parametrize(
    ("path", "pattern", "scope"),
    [
        ("encoder/layer0/attention/MatMul", "encoder/*", "encoder/layer0"),
        ("encoder/layer0/attention/MatMul", "encoder", "encoder"),
        ("/encoder/layer0/attention/MatMul", "*/attention", "encoder/layer0/attention"),
        ("encoder/layer0/attention/MatMul", "decoder/*", None),
        ("Relu_3", "Relu*", "Relu_3"),
    ],
)
def test_patterns_name_scopes(path, pattern, scope):
    assert matching_scope(path, [pattern]) == scope


def program_of(made, items=2):
    network, loss = made
    return training_program(bind(network, items), loss, "y", tk.optimizers.SGD(0.1)).program


def test_later_passes_leave_repetitions_alone():
    program = program_of(residual(2))
    rematerialise(program, EVERYTHING, lambda program: 0)
    before = sum(node.is_recomputed for node in program.nodes)
    assert before and sum(node.is_recomputed for node in tidy_after_differentiation(program).nodes) == before


def test_nothing_is_computed_twice_again():
    program = program_of(residual(4))
    forward = ForwardPass(program)
    for parts in (segments(forward, 1), segments(forward, 4)):
        dropped = frozenset().union(*(thoroughly(forward, part) for part in parts))
        nodes = forward.schedule(dropped).nodes
        again = [node.layer + node.op_type for node in nodes if node.is_recomputed and "block" in node.layer]
        assert again and len(again) == len(set(again))


def test_segments_hold_every_node_once_and_cut_between_blocks():
    forward = ForwardPass(program_of(residual(8)))
    for count in (1, 2, 4, 8):
        parts = segments(forward, count)
        assert [node for part in parts for node in part] == forward.nodes
        assert len(parts) == count
    starts = [part[0] for part in segments(forward, 4)[1:]]
    assert all("Conv0" in node.layer for node in starts)


def test_lightly_drops_only_what_is_cheap():
    forward = ForwardPass(program_of(residual(4)))
    dropped = lightly(forward, forward.nodes)
    assert dropped
    repeats = [node for node in forward.schedule(dropped).nodes if node.is_recomputed]
    assert repeats and not any("Conv" in node.op_type or "MatMul" in node.op_type for node in repeats)
