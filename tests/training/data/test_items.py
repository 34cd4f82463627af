"""Data of other libraries, recognised by its manners: look-alikes here, the real ones where they are installed."""

import numpy as np
import pytest

from tests.training.small import classifier, clusters
from toolkit import Trainer, losses, optimizers
from toolkit.errors import InputError
from toolkit.runtime.feeds import arrayed
from toolkit.training.data import Batches, Items, StreamedItems, feeds_of
from toolkit.training.data.recognition import source_of

X, Y = np.arange(14, dtype=np.float32).reshape(7, 2), np.arange(7)


class Tensor:
    """As little of a tensor as DLPack demands."""

    def __init__(self, array):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnDevice(Tensor):
    def __dlpack__(self, **options):
        raise BufferError("the data is on another device")


class Loader:
    """Batches as a DataLoader gives them: lists of tensors, anew at every iteration, without numbers."""

    def __len__(self):
        return 3

    def __iter__(self):
        return ([Tensor(X[rows]), Tensor(Y[rows])] for rows in (slice(0, 3), slice(3, 6), slice(6, 7)))


class Numbered:
    """Items by number, as a dataset of PyTorch gives them."""

    def __len__(self):
        return 7

    def __getitem__(self, number):
        if number >= 7:
            raise AssertionError("beyond the end")
        return X[number], int(Y[number])


class Columned(Numbered):
    """Items as dicts, as a dataset of Hugging Face gives them, with several at once and columns by name."""

    column_names = ["image", "label"]  # noqa: RUF012

    def __getitem__(self, key):
        if isinstance(key, str):
            return (X if key == "image" else Y).tolist()
        return {"image": X[key].tolist(), "label": int(Y[key])}

    def __getitems__(self, keys):
        return [self[key] for key in keys]


def items():
    yield from zip(X, Y, strict=True)


CASES = {
    "pair": (X, Y),
    "list of arrays": [X, Y],
    "tensors": (Tensor(X), Tensor(Y)),
    "dict of arrays": {"image": X, "label": Y},
    "loader": Loader(),
    "dataset": Numbered(),
    "dataset with columns": Columned(),
    "columns by name": Items(Columned(), x="image", y="label"),
    "list of items": list(items()),
    "list of dicts": [{"x": x, "y": y} for x, y in items()],
    "function of items": items,
    "function of batches": lambda: iter(Loader()),
    "streamed": StreamedItems(items),
    "streamed columns": StreamedItems([{"a": x, "b": y, "c": 0} for x, y in items()], x="a", y="b"),
    "numbered batches": [(X[:3], Y[:3]), (X[3:6], Y[3:6]), (X[6:], Y[6:])],
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", CASES)
def test_all_manners_give_the_same_batches(name, workers):
    found = list(Batches(CASES[name], 3, workers=workers))
    assert [len(labels) for _, labels in found] == [3, 3, 1]
    assert np.array_equal(np.concatenate([x for x, _ in found]), X)
    assert np.array_equal(np.concatenate([labels for _, labels in found]), Y)
    assert all(isinstance(part, np.ndarray) for pair in found for part in pair)


def test_several_columns_become_inputs_by_name():
    data = [{"left": x, "right": -x, "target": y} for x, y in items()]
    ((x, labels),) = Batches(Items(data, x={"a": "left", "b": "right"}, y="target"), 7)
    assert np.array_equal(x["a"], X) and np.array_equal(x["b"], -X) and np.array_equal(labels, Y)
    ((x, _),) = Batches(data, 7)
    assert list(x) == ["left", "right"]


def test_labels_may_be_several():
    several = {"a": Y, "b": -Y}
    for data in ((X, several), [(x, {"a": y, "b": -y}) for x, y in items()], [(X[:4], {"a": Y[:4], "b": -Y[:4]})]):
        for x, labels in Batches(data, 4):
            assert np.array_equal(labels["a"], X[X[:, 0] == x[0, 0]][0, 0] // 2 + np.arange(len(x)))
            assert np.array_equal(labels["b"], -labels["a"])


def test_labels_are_known_where_columns_are():
    assert np.array_equal(source_of(Columned()).labels, Y)
    assert source_of(Numbered()).labels is None


def test_vectors_as_labels_are_items_only_when_said():
    data = [(x, x) for x, _ in items()]
    ((x, labels),) = Batches(Items(data), 7)
    assert x.shape == labels.shape == (7, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Items(iter([])), "Items requires data with __len__ and __getitem__, got list_iterator"),
        (lambda: Items([]), "holds no items"),
        (
            lambda: list(Batches(StreamedItems([{"a": 1, "b": 2}]))),
            r"columns \['a', 'b'\] and lacks a column of labels",
        ),
        (lambda: list(Batches(Items([{"y": 1}, {"y": 2}]))), r"lacks the columns for x"),
        (lambda: list(Batches(Items([{"a": 1, "y": 2}], x="b"))), r"lacks the columns \['b'\]"),
        (lambda: list(Batches(Items([(X, 1)], y="label"))), "have no columns to name"),
        (lambda: list(Batches(Items([(X, 1), (X[:2], 2)]))), r"equal shapes, got 'x' of \(2, 2\) and \(7, 2\)"),
        (lambda: list(Batches(StreamedItems([3]))), r"yields int where \(x, labels\) is expected"),
    ],
)
def test_what_cannot_be_told_is_asked_for(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_tensors_share_their_memory_with_the_feeds():
    x = np.ones((2, 6), np.float32)
    network = classifier()
    assert np.shares_memory(arrayed(Tensor(x)), x)
    assert np.shares_memory(feeds_of(network, Tensor(x))["x"], x)
    outputs = network.run(Tensor(x))["y"]
    assert np.array_equal(outputs, network.run(x)["y"])
    assert np.shares_memory(np.from_dlpack(outputs), outputs)


def test_a_tensor_out_of_reach_says_what_to_do():
    with pytest.raises(InputError, match=r"OnDevice cannot be read as an array .*another device.*detach\(\)\.cpu\(\)"):
        arrayed(OnDevice(X))


def test_a_step_takes_tensors():
    x, labels = clusters()
    trainer = Trainer(classifier(), loss=losses.SoftmaxCrossEntropy(), optimizer=optimizers.Adam(1e-2))
    twin = Trainer(classifier(), loss=losses.SoftmaxCrossEntropy(), optimizer=optimizers.Adam(1e-2))
    assert trainer.train_minibatch(Tensor(x), Tensor(labels))[0] == twin.train_minibatch(x, labels)[0]


def test_a_loader_of_torch():
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    for source in (torch.utils.data.DataLoader(data, batch_size=3), data):
        found = list(Batches(source, 3))
        assert np.array_equal(np.concatenate([x for x, _ in found]), X) and len(found) == 3
    assert np.shares_memory(arrayed(tensor := torch.from_numpy(X)), tensor.numpy())
    assert torch.from_dlpack(classifier().run(np.ones((2, 6), np.float32))["y"]).shape == (2, 3)
    with pytest.raises(InputError, match="cannot be read as an array"):
        arrayed(torch.ones(2, requires_grad=True))


def test_a_dataset_of_hugging_face():
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"image": X.tolist(), "label": Y.tolist()})
    for source in (data, data.to_iterable_dataset(), data.with_format("numpy")):
        ((x, labels),) = Batches(source, 7)
        assert np.array_equal(x, X) and np.array_equal(labels, Y)
