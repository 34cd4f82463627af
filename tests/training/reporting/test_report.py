"""Reports: pages that are well-formed and self-contained, and say what the run reached and where it is wrong."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

import toolkit as tk
from tests.training.small import classifier, clusters
from toolkit import layers
from toolkit.errors import InputError
from toolkit.training.reporting.circumstances import described
from toolkit.training.reporting.examination import examine


class Page(HTMLParser):
    """The headings of a page and the rows of its tables, by section."""

    def __init__(self, path):
        super().__init__()
        self.tables, self._heading, self._where = {}, "", ""
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        self._where = tag
        if tag == "h2":
            self._heading = ""
        elif tag == "tr":
            self.tables[self._heading].append([])
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append("")

    def handle_data(self, data):
        if self._where == "h2" and data.strip():
            self._heading = data
            self.tables[data] = []
        elif self._where in ("td", "th") and self.tables[self._heading]:
            self.tables[self._heading][-1][-1] += data

    def handle_endtag(self, tag):
        self._where = ""


def trainer_of(network=None, loss=None):
    return tk.Trainer(
        network or classifier(),
        loss=loss or tk.losses.SoftmaxCrossEntropy(),
        optimizer=tk.optimizers.Adam(0.02),
        backend="numpy",
    )


def test_a_run_writes_its_page(tmp_path):
    trainer, path = trainer_of(), tmp_path / "run.html"
    held_out = clusters(40, seed=1)
    history = trainer.fit(clusters(80), 3, held_out, batch_size=16, schedule=tk.schedules.cosine(), report=path)
    page = Page(path)
    assert not re.search(r"https?://|<script|@import|<link", page.text)
    assert list(page.tables)[:5] == [
        "Figures",
        "Loss by update",
        "Loss by epoch",
        "Accuracy by epoch",
        "Learning rate by epoch",
    ]
    assert history.message in page.text
    figures = {row[0]: row[1:] for row in page.tables["Figures"]}
    kept = history.epochs[history.best_epoch - 1]
    assert figures["accuracy"][:2] == [f"{kept.training['accuracy']:.4f}", f"{kept.validation['accuracy']:.4f}"]
    assert float(figures["accuracy"][2]) == pytest.approx(trainer.evaluate(held_out)["accuracy"], abs=1e-4)
    assert [row[0] for row in page.tables["Classes"]] == ["class", "0", "1", "2", "mean of classes"]
    assert len(page.tables["Epochs"]) == 4 and len(page.tables["Worst examples"]) == 13
    configuration = dict(page.tables["Configuration"][1:])
    assert configuration["optimizer"].startswith("Adam(0.02") and configuration["schedule"] == "cosine"
    assert configuration["batch size"] == "16" and configuration["learning rate"] == "0.02"
    assert "numpy" in dict(page.tables["Environment"][1:])


def test_the_page_is_there_while_the_run_goes_on(tmp_path):
    path = tmp_path / "run.html"

    class Look(tk.callbacks.Callback):
        def epoch_begins(self, run):
            assert path.exists() == (run.epoch > 1)
            assert run.epoch == 1 or len(Page(path).tables["Epochs"]) == run.epoch

    trainer_of().fit(clusters(80), 3, report=path, callbacks=[Look()])


def test_data_that_serves_one_pass_are_not_examined(tmp_path):
    trainer_of().fit((clusters(8, seed=seed) for seed in range(4)), report=tmp_path / "run.html")
    page = Page(tmp_path / "run.html")
    assert len(page.tables["Epochs"]) == 2 and "Classes" not in page.tables


def test_an_evaluation_writes_a_page_too(tmp_path):
    path = tmp_path / "page.html"
    tk.callbacks.write_report(path, trainer_of(), clusters(40), names=["<ash>", "birch", "cedar"], title="Trees & more")
    page = Page(path)
    assert "Trees &amp; more" in page.text and "<ash>" not in page.text
    assert [row[0] for row in page.tables["Classes"][1:4]] == ["<ash>", "birch", "cedar"]
    assert "Epochs" not in page.tables


def test_names_of_the_model_are_used(tmp_path):
    trainer = trainer_of()
    tk.surgery.name_classes(trainer.network, ["ash", "birch", "cedar"])
    tk.callbacks.write_report(tmp_path / "page.html", trainer, clusters(40))
    assert "birch" in Page(tmp_path / "page.html").text


def test_many_updates_become_few_points():
    report, losses = tk.callbacks.Report("unused"), np.random.default_rng(0).uniform(0, 3, 1700)
    for step, loss in enumerate(losses, 1):
        report.batch_ends(SimpleNamespace(loss=loss, trainer=SimpleNamespace(steps=step)))
    points = np.array(report.state()["points"])
    assert len(points) == 213 and points[:, 2].tolist() == [8] * 212 + [4]
    np.testing.assert_array_equal(points[:, 0], np.arange(213) * 8 + 1)
    np.testing.assert_allclose(points[:212, 1], losses[:1696].reshape(-1, 8).mean(1))


class TestExamination:
    def test_the_worst_are_those_whose_label_is_least_likely(self):
        trainer, (x, labels) = trainer_of(), clusters(50)
        found = examine(trainer, (x, labels), worst=5, batch_size=8)
        scores = trainer.network.run(x)["y"].astype(np.float64)
        chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        own = chances[np.arange(50), labels]
        assert [item.index for item in found.worst] == np.argsort(own)[:5].tolist()
        assert [item.badness for item in found.worst] == pytest.approx(1 - np.sort(own)[:5], rel=1e-4)
        for item in found.worst:
            np.testing.assert_array_equal(item.feeds["x"], x[item.index])
            answer = chances[item.index]
            assert item.truth == str(labels[item.index])
            assert item.answer == f"{answer.argmax()} ({answer.max():.0%})"
        assert found.items == 50 and found.figures["accuracy"] == pytest.approx(found.matrix.accuracy)

    def test_values_are_judged_by_their_distance(self):
        network = classifier(classes=1)
        trainer, (x, _) = trainer_of(network, tk.losses.MeanSquaredError()), clusters(20)
        targets = network.run(x)["y"].copy()
        targets[[3, 11]] += [[4.0], [-9.0]]
        targets[5] = np.nan
        found = examine(trainer, (x, targets), worst=2, batch_size=6)
        assert [item.index for item in found.worst] == [11, 3] and found.matrix is None
        assert found.worst[0].badness == pytest.approx(9.0, rel=1e-4)

    def test_yes_or_no_is_judged_by_its_chance(self):
        network = classifier(classes=1)
        trainer, (x, _) = trainer_of(network, tk.losses.BinaryCrossEntropy()), clusters(30)
        scores = network.run(x)["y"].astype(np.float64)
        labels = (scores > 0).astype(np.float32)
        wrong = int(np.abs(scores).argmax())
        labels[wrong] = 1 - labels[wrong]
        found = examine(trainer, (x, labels), worst=1)
        assert found.worst[0].index == wrong and found.matrix.counts.sum() == 30
        assert found.figures["accuracy"] == pytest.approx(29 / 30) == pytest.approx(found.matrix.accuracy)
        assert found.worst[0].answer.endswith("% yes)")

    def test_missing_labels_are_not_examples(self):
        loss = tk.losses.SoftmaxCrossEntropy(ignore_index=-1)
        x, labels = clusters(6)
        labels[:4] = -1
        found = examine(trainer_of(loss=loss), (x, labels))
        assert sorted(item.index for item in found.worst) == [4, 5]

    def test_a_count_is_required(self, tmp_path):
        with pytest.raises(InputError, match="worst examples of at least 0, got -1"):
            tk.callbacks.Report(tmp_path / "page.html", worst=-1)


@pytest.mark.parametrize(
    ("shape", "scale", "option"),
    [((1, 8, 8), 1.0, None), ((3, 8, 8), 5.0, None), ((8, 8, 3), 255.0, None), ((64,), 1.0, (8, 8))],
)
def test_images_are_shown_as_pictures(shape, scale, option, tmp_path):
    network = layers.Sequential([layers.Flatten(), layers.Linear(2)]).network(shape)
    x = np.random.default_rng(0).uniform(0, scale, (5, *shape)).astype(np.float32)
    tk.callbacks.write_report(
        tmp_path / "page.html", trainer_of(network), (x, np.array([0, 1, 0, 1, 1])), worst=4, image_shape=option
    )
    page = (tmp_path / "page.html").read_text()
    assert len(re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+"', page)) == 4


def test_options_are_described_by_what_made_them():
    assert described(tk.schedules.one_cycle()) == "one_cycle"
    assert described(["cuda", "cpu"]) == "cuda, cpu"
    assert described(tk.training_network) == "training_network"
    assert described(tk.losses.SoftmaxCrossEntropy()).startswith("SoftmaxCrossEntropy(axis=1")
    assert described(tk.optimizers.SGD(0.5)).startswith("SGD(0.5")
