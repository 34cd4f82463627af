"""Folders of images: geometry, colours, augmentation in training passes only, and errors that name the file."""

import sys

import numpy as np
import pytest

from toolkit.errors import InputError
from toolkit.training.data import Augmentation, Augmented, Batches, ImageFolder
from toolkit.training.data.augmentation import moved

Image = pytest.importorskip("PIL.Image", reason="images are decoded by Pillow, an extra")
RED, GREEN = (255, 0, 0), (0, 255, 0)


@pytest.fixture
def folder(tmp_path):
    """Two classes: three red images, 20 x 30, and two green ones, of which one is grey and one lies deeper."""
    for name, colour, count in (("red", RED, 3), ("green", GREEN, 2)):
        (tmp_path / name / "more").mkdir(parents=True)
        for number in range(count):
            place = tmp_path / name / ("more" if number else "")
            Image.new("RGB", (30, 20), colour).save(place / f"{number}.png")
    (tmp_path / "green" / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    return tmp_path


def test_folders_are_classes(folder):
    images = ImageFolder(folder, 8)
    assert images.classes == ["green", "red"] and images.labels.tolist() == [0, 0, 1, 1, 1]
    ((x, labels),) = Batches(images)
    assert x.shape == (5, 3, 8, 8) and x.dtype == np.float32 and labels.tolist() == [0, 0, 1, 1, 1]
    assert x[4, :, 0, 0] == pytest.approx([1, 0, 0]) and x[0, :, 0, 0] == pytest.approx([0, 1, 0])
    assert ImageFolder(folder, 8, classes=["red", "green"]).labels.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "pixel"),
    [
        ({"channels": "BGR"}, [0, 0, 1]),
        ({"channels": "L"}, [76 / 255]),
        ({"scale": 1}, [255, 0, 0]),
        ({"mean": (0.5, 0.25, 0), "std": (0.5, 0.5, 1)}, [1, -0.5, 0]),
        ({"mean": 0.5, "std": 2}, [0.25, -0.25, -0.25]),
    ],
)
def test_colours(folder, options, pixel):
    assert ImageFolder(folder, (4, 6), **options).image(4)[:, 1, 1] == pytest.approx(pixel, abs=1e-6)


def test_layout_and_size(folder):
    assert ImageFolder(folder, (4, 6)).image(0).shape == (3, 4, 6)
    assert ImageFolder(folder, (4, 6), layout="NHWC", channels="L").image(0).shape == (4, 6, 1)


def test_crops_keep_proportions_and_stretching_keeps_everything(tmp_path):
    (tmp_path / "a").mkdir()
    ramp = np.repeat(np.arange(0, 240, dtype=np.uint8)[None], 80, axis=0)  # 80 x 240, brighter to the right
    Image.fromarray(ramp).save(tmp_path / "a" / "ramp.png")
    stretched = ImageFolder(tmp_path, 40, fit="stretch", channels="L", scale=1).image(0)[0]
    assert stretched[0, 0] < 5 and stretched[0, -1] > 234
    images = ImageFolder(tmp_path, 40, channels="L", scale=1)
    centre = images.image(0)[0]
    assert centre[0, [0, -1]] == pytest.approx([119.5 - 35, 119.5 + 35], abs=2)  # 70 of 240 columns in the middle
    lefts = {float(images.image(0, seed)[0, 0, 0]) for seed in range(8)}
    assert len(lefts) > 4 and images.image(0, 3)[0, 0, 0] == images.image(0, 3)[0, 0, 0]


def test_photographs_are_turned_upright(tmp_path):
    (tmp_path / "a").mkdir()
    image = Image.new("L", (8, 4))
    tag = image.getexif()
    tag[274] = 6  # the orientation of Exif: turned by a quarter
    image.putpixel((0, 0), 255)
    image.save(tmp_path / "a" / "a.png", exif=tag)
    assert ImageFolder(tmp_path, (8, 4), fit="stretch", channels="L").image(0)[0, 0, 3] > 0.9


def test_augmentation_happens_in_training_passes_whatever_the_threads(folder):
    options = {"augmentation": Augmentation(brightness=0.9), "size": 6}
    plain = [x for x, _ in Batches(ImageFolder(folder, **options), 2)]
    assert np.array_equal(np.concatenate(plain), np.concatenate([x for x, _ in Batches(ImageFolder(folder, 6), 2)]))
    passes = [
        np.concatenate([x for x, _ in Batches(ImageFolder(folder, **options), 2, workers=n)(np.random.default_rng(1))])
        for n in (0, 3)
    ]
    assert np.array_equal(*passes) and passes[0].std() > 0.01 and len(np.unique(passes[0].max((1, 2, 3)))) > 2


PICTURE = np.random.default_rng(0).uniform(20, 230, (12, 10, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("augmentation", "expected"),
    [
        (Augmentation(), PICTURE),
        (Augmentation(flip=1.0), PICTURE[:, ::-1]),
        (Augmentation(vertical_flip=1.0), PICTURE[::-1]),
    ],
)
def test_what_is_certain_is_exact(augmentation, expected):
    assert np.array_equal(augmentation(PICTURE, np.random.default_rng(0)), expected)


def test_images_move_by_pixels_and_turn_counter_clockwise():
    assert np.allclose(moved(PICTURE, 0.0, 2.0, 3.0)[2:, 3:], PICTURE[:-2, :-3], atol=1e-3)
    square = PICTURE[:10]
    assert np.allclose(moved(square, np.pi / 2, 0, 0), np.rot90(square), atol=1e-2)
    half = moved(PICTURE, 0.0, 0.0, 0.5)
    assert np.allclose(half[:, 1:], (PICTURE[:, 1:] + PICTURE[:, :-1]) / 2, atol=1e-3)


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "erase", "rotation", "shift"])
def test_every_option_changes_an_image_within_its_range(name):
    options = {name: {"rotation": 20.0, "erase": 1.0}.get(name, 0.5)}
    changed = [Augmentation(**options)(PICTURE, np.random.default_rng(seed)) for seed in range(5)]
    assert all(image.shape == PICTURE.shape and image.dtype == np.float32 for image in changed)
    assert all(image.min() >= 0 and image.max() <= 255 for image in changed)
    assert not np.allclose(changed[0], PICTURE) and not np.allclose(changed[0], changed[1])


def test_brightness_multiplies_and_contrast_keeps_the_mean():
    dim = PICTURE / 4
    ratio = Augmentation(brightness=0.5)(dim, np.random.default_rng(0)) / dim
    assert ratio.std() < 1e-4 and 0.5 <= ratio.mean() <= 1.5
    middle = PICTURE / 4 + 96
    assert Augmentation(contrast=0.5)(middle, np.random.default_rng(1)).mean() == pytest.approx(middle.mean(), rel=1e-3)


@pytest.mark.parametrize(("layout", "shape"), [("NCHW", (4, 3, 12, 10)), ("NHWC", (4, 12, 10, 3))])
def test_arrays_are_augmented_as_well(layout, shape):
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    source = Augmented((x, np.arange(4)), Augmentation(flip=1.0), layout=layout)
    assert np.array_equal(source.batch(slice(0, 4), None)[0], x)
    axis = 3 if layout == "NCHW" else 2
    assert np.allclose(source.batch(np.array([2, 0]), 1)[0], np.flip(x[[2, 0]], axis), atol=1e-6)


def test_folders_that_do_not_fit_are_named(folder):
    (folder / "empty").mkdir()
    for make, message in [
        (lambda: ImageFolder(folder / "none"), "There is no folder .*none"),
        (lambda: ImageFolder(folder), "empty' holds no images"),
        (lambda: ImageFolder(folder, classes=["blue"]), r"\['blue'\] are missing"),
        (lambda: ImageFolder(folder / "empty"), "one folder per class"),
        (lambda: ImageFolder(folder, fit="pad"), r"fit must be one of \('crop', 'stretch'\), got 'pad'"),
        (lambda: ImageFolder(folder, classes=["red"], mean=(1, 2)), "one for each of 3 channels"),
        (lambda: Augmentation(flip=1.5), r"flip requires a number in \[0, 1\], got 1.5"),
        (lambda: Augmented(iter([]), Augmentation()), "Augmented requires numbered items"),
        (lambda: Augmented((np.zeros((2, 2)), [0, 1]), Augmentation()).batch(slice(0, 1), 1), r"got \(1, 2\)"),
    ]:
        with pytest.raises(InputError, match=message):
            make()


def test_a_damaged_image_is_named(folder):
    whole = (folder / "red" / "0.png").read_bytes()
    (folder / "red" / "0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"0\.png' is no image that can be read"):
        list(Batches(ImageFolder(folder, 8)))


def test_without_pillow_the_remedy_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(InputError, match="pip install pillow"):
        ImageFolder(folder)
