"""Tests of ``ArrayDataModule``: description, validation split, batches, errors, constructor arguments."""

from __future__ import annotations

import dataclasses
import inspect

import docstring_parser
import numpy as np
import pytest
import torch

from lightning_distill import ArrayDataModule
from lightning_distill import data as data_modules
from lightning_distill.data import ClassBalancedLoader, DataInfo, SequentialLoader
from lightning_distill.utils.lazy_arrays import FileArray


def split(*counts, size=6, channels=1, dtype=np.uint8, seed=0):
    """``counts[c]`` random images ``(N, C, H, W)`` of every class c, shuffled, and labels ``(N,)``."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    images = random.integers(0, 256, (len(labels), channels, size, size)).astype(dtype)
    return (images / 255).astype(dtype) if np.dtype(dtype).kind == "f" else images, labels


def module(train=None, **options):
    return ArrayDataModule(split(10, 8, 12) if train is None else train, channels="first", **options)


def test_a_small_set_is_described():
    train, val = split(10, 8, 12, channels=3), split(3, 3, 3, channels=3)
    options = {"name": "toy", "augmentation": "none", "license": "CC0", "source": "made up"}
    spec = module(train, val=val, class_names=["ant", "bee", "cat"], **options).spec
    assert (spec.name, spec.augmentation, spec.license, spec.source) == ("toy", "none", "CC0", "made up")
    assert spec.shape == (3, 6, 6)
    assert spec.class_names == ("ant", "bee", "cat")
    assert spec.task == "multi-class"
    assert (spec.min_value, spec.max_value, spec.storage_dtype) == (0.0, 255.0, "uint8")
    np.testing.assert_allclose(spec.mean, train[0].mean((0, 2, 3)))
    np.testing.assert_allclose(spec.std, train[0].std((0, 2, 3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_images_are_shipped_as_float16_in_the_range_of_the_training_images(dtype):
    train, val = split(9, 9, dtype=dtype), split(4, 4, dtype=dtype, seed=1)
    val = (val[0] * 2 - 1, val[1])
    spec = module(train, val=val).spec
    assert spec.storage_dtype == "float16"
    assert (spec.min_value, spec.max_value) == (train[0].min(), train[0].max())


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        ([0, 1] * 10, None, "binary"),
        ([0, 1, 2, 1] * 5, None, "multi-class"),
        ([0, 1, 2, 1] * 5, "ordinal", "ordinal"),
        ([[0, 1, 1], [1, 0, 0]] * 10, None, "multi-label"),
    ],
)
def test_the_task_is_read_off_the_labels_unless_given(labels, task, expected):
    images, labels = np.zeros((20, 6, 6), np.uint8), np.array(labels)
    data = ArrayDataModule((images, labels), (images, labels), task=task)
    assert data.spec.task == expected
    assert data.spec.num_classes == (3 if expected != "binary" else 2)
    assert data.spec.class_names == tuple(map(str, range(data.spec.num_classes)))


def test_labels_of_the_shape_n_1_are_those_of_the_shape_n():
    images, labels = split(10, 8, 12)
    flat, column = module((images, labels)), module((images, labels[:, None].astype(np.uint8)))
    assert flat.spec == column.spec
    assert torch.equal(flat.train_dataloader().batch(3)[0], column.train_dataloader().batch(3)[0])
    np.testing.assert_array_equal(flat.splits["val"][1], column.splits["val"][1])


def tagged(*counts):
    """Images whose first pixels are their own number, so that splits can be compared."""
    images, labels = split(*counts)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) // 256, np.arange(len(labels)) % 256
    return images, labels


def numbers(part):
    return set((part[0][:, 0, 0, 0].astype(int) * 256 + part[0][:, 0, 0, 1]).tolist())


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_a_missing_validation_split_is_carved_out_stratified_and_disjoint(fraction):
    counts = (200, 40, 80)
    data = module(tagged(*counts), val_fraction=fraction)
    data.setup()
    train, val = data.splits["train"], data.splits["val"]
    assert numbers(train) | numbers(val) == set(range(320))
    assert not numbers(train) & numbers(val)
    assert len(val[1]) == round(320 * fraction)
    for label, count in enumerate(counts):
        assert (val[1] == label).sum() == pytest.approx(count * fraction, abs=1)


def test_carving_out_keeps_images_with_their_labels():
    images, labels = tagged(60, 30)
    data = module((images, labels))
    data.setup()
    for part_images, part_labels in data.splits.values():
        for image, label in zip(part_images, part_labels, strict=True):
            row = int(image[0, 0, 0]) * 256 + int(image[0, 0, 1])
            assert label == labels[row]
            np.testing.assert_array_equal(image, images[row])


def test_carving_out_is_seeded():
    carved = [module(tagged(60, 30), seed=seed) for seed in (0, 0, 1)]
    for data in carved:
        data.setup()
    first, again, other = (numbers(data.splits["val"]) for data in carved)
    assert first == again
    assert first != other


def test_statistics_are_of_what_is_left_of_the_training_images():
    images, labels = split(60, 30, dtype=np.float32)
    data = module((images, labels), val_fraction=0.3)
    left = data.train_arrays()[0].astype(np.float64)
    assert data.spec.mean[0] == pytest.approx(left.mean(), rel=1e-9)
    assert data.spec.std[0] == pytest.approx(left.std(), rel=1e-9)
    assert data.spec.mean[0] != pytest.approx(images.astype(np.float64).mean(), rel=1e-9)


def test_a_given_validation_split_is_left_alone():
    train, val = tagged(20, 20), split(5, 4, seed=9)
    data = module(train, val=val)
    assert numbers(data.train_arrays()) == set(range(40))
    np.testing.assert_array_equal(data.splits["val"][0], val[0])


def test_carving_out_leaves_the_only_image_of_a_class_in_training():
    for seed in range(40):
        data = module(split(12, 1, 12), seed=seed)
        assert np.bincount(data.train_arrays()[1], minlength=3).min() >= 1


@pytest.mark.parametrize(("counts", "fraction"), [((4, 4), 0.1), ((2,) * 6, 0.1), ((10, 10), 0.99)])
def test_too_few_images_to_carve_from_are_refused_in_our_words(counts, fraction):
    with pytest.raises(ValueError, match="val_fraction"):
        module(split(*counts), val_fraction=fraction).setup()


def test_carving_out_of_mapped_images_leaves_them_on_disk(tmp_path):
    images, labels = split(60, 30)
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = module((mapped, labels))
    train = data.train_arrays()[0]
    assert isinstance(train.array, FileArray), "the training images were copied into memory"


def test_mapped_images_with_a_validation_split_stay_on_disk_and_give_equal_batches(tmp_path):
    images, labels = split(60, 30)
    np.save(tmp_path / "x.npy", images)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    val = split(4, 4)
    data, plain = module((mapped, labels), val=val), module((images, labels), val=val)
    assert isinstance(data.train_arrays()[0], FileArray)
    assert data.spec == plain.spec
    assert torch.equal(data.train_dataloader().batch(2)[0], plain.train_dataloader().batch(2)[0])


def test_loaders_give_balanced_training_batches_and_every_other_image_once():
    data = module(val=split(3, 4, 5), test=split(6, 2, 2), real_per_class=7, batch_size=4, steps_per_epoch=2)
    train = data.train_dataloader()
    assert isinstance(train, ClassBalancedLoader)
    assert len(train) == 2
    x, y = train.batch(0)
    assert x.dtype == torch.uint8
    assert torch.bincount(y).tolist() == [7, 7, 7]
    for loader, name, count in ((data.val_dataloader(), "val", 12), (data.test_dataloader(), "test", 10)):
        assert isinstance(loader, SequentialLoader)
        batches = list(loader)
        assert max(len(x) for x, _ in batches) == 4
        assert sum(len(x) for x, _ in batches) == count
        np.testing.assert_array_equal(torch.cat([x for x, _ in batches]), data.splits[name][0])


def test_draws_are_seeded():
    batches = [module(val=split(3, 3, 3), seed=seed).train_dataloader().batch(0)[0] for seed in (3, 3, 4)]
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])


@pytest.mark.parametrize(
    ("steps_per_epoch", "max_steps", "expected"), [(7, 100, 7), (None, 100, 20), (None, 7, 7), (None, -1, 100)]
)
def test_an_epoch_is_as_long_as_asked_or_a_fifth_of_the_run(steps_per_epoch, max_steps, expected):
    data = module(steps_per_epoch=steps_per_epoch)
    data.trainer = type("Trainer", (), {"max_steps": max_steps, "lightning_module": None})()
    assert len(data.train_dataloader()) == expected


def test_without_a_trainer_an_epoch_has_100_batches():
    assert len(module().train_dataloader()) == 100


def test_data_is_loaded_once():
    class Counting(ArrayDataModule):
        loads = 0

        def load_raw(self):
            self.loads += 1
            return super().load_raw()

    data = Counting(split(10, 10))
    data.setup("fit")
    data.setup("test")
    data.train_arrays()
    assert data.spec is data.spec
    assert data.loads == 1


def test_without_a_test_split_the_test_loader_says_so():
    with pytest.raises(ValueError, match=r"arrays has no test split; pass test=\(images, labels\)"):
        module().test_dataloader()


IMAGES = np.zeros((6, 8, 8), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
NAMES = ["ant", "bee", "cat"]


def floats(bad=0.0):
    images = IMAGES.astype(np.float32)
    images[3, 1, 1] = bad
    return images


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": None}, r"no training images: ArrayDataModule\(train="),
        ({"train": (IMAGES, np.zeros(6, int))}, "arrays has one class only"),
        ({"train": (IMAGES, np.zeros(6, int)), "class_names": ["ant"]}, r"arrays has one class only \('ant'\)"),
        ({"train": (IMAGES, np.zeros((6, 1), int))}, "arrays has one class only"),
        ({"train": (IMAGES, LABELS * 2 % 3 * 2)}, "no training images of the class '1', '3'; drop it"),
        ({"train": (IMAGES, LABELS), "class_names": [*NAMES, "dog"]}, "no training images of the class 'dog'"),
        ({"train": (IMAGES, LABELS), "class_names": NAMES[:2]}, "train has the label 2 but there are 2 classes"),
        ({"val": (IMAGES, LABELS + 1)}, "val has the label 3 but there are 3 classes"),
        ({"test": (IMAGES, LABELS + 5)}, "test has the label 7 but there are 3 classes"),
        ({"train": (IMAGES, LABELS - 1)}, "train has the label -1"),
        ({"val": (IMAGES, LABELS[:5])}, "val has 6 images but 5 labels"),
        ({"val": (IMAGES[:, :7], LABELS)}, r"val images are \(1, 7, 8\) but train images \(1, 8, 8\)"),
        ({"test": (np.zeros((6, 8, 8, 3), "u1"), LABELS)}, r"test images are \(3, 8, 8\) but train images \(1, 8, 8\)"),
        ({"train": (floats(np.nan), LABELS)}, "train image 3 has NaN or infinite pixels"),
        ({"test": (floats(np.inf), LABELS)}, "test image 3 has NaN or infinite pixels"),
        ({"train": (IMAGES, np.eye(6, 3, dtype=int)), "val": None, "class_names": NAMES[:2]}, "3 classes but 2 class"),
        ({"train": (IMAGES[:, :, :, None].repeat(2, 3), LABELS)}, "cannot tell the channels"),
        ({"val": (IMAGES[:0], LABELS[:0])}, "val has no images"),
        ({"val": (IMAGES, np.eye(6, 3, dtype=int))}, "val"),
        ({"train": (IMAGES, np.eye(6, 3, dtype=int)), "test": (IMAGES, LABELS)}, "test|val"),
        ({"train": (IMAGES, np.eye(6, 3, dtype=int)), "val": (IMAGES, np.eye(6, 4, dtype=int))}, "val"),
        ({"val": (floats(), LABELS)}, "val"),
    ],
    ids=[
        "no train", "one class", "one named class", "one class as a column", "gaps", "empty named class",
        "label out of names", "val label out of range", "test label out of range", "negative label", "too few labels",
        "another height", "other channels", "nan", "inf", "too few names", "two channels", "empty val",
        "val alone is multi-label", "train alone is multi-label", "another number of findings", "uint8 and float",
    ],
)  # fmt: skip
def test_unfit_data_is_refused_with_what_is_wrong(splits, message):
    splits = {"train": (IMAGES, LABELS), "val": (IMAGES, LABELS), **splits}
    with pytest.raises(ValueError, match=message):
        ArrayDataModule(**splits).setup()


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((IMAGES.astype(np.int64), LABELS), "train images are int64"),
        ((IMAGES, LABELS.astype(float)), "train labels are float64"),
        ((IMAGES, np.array(["ant"] * 6)), "train labels are <U3"),
    ],
)
def test_a_wrong_dtype_is_refused_by_name(train, message):
    with pytest.raises(TypeError, match=message):
        ArrayDataModule(train).setup()


@pytest.mark.parametrize("option", ["real_per_class", "batch_size", "steps_per_epoch"])
@pytest.mark.parametrize("value", [0, -3])
def test_a_count_below_one_is_refused(option, value):
    with pytest.raises(ValueError, match=f"{option}={value}; it must be at least 1"):
        ArrayDataModule((IMAGES, LABELS), **{option: value})


def test_float_pixels_in_the_other_byte_order_can_be_drawn():
    images, labels = split(10, 8, dtype=np.float32)
    swapped, plain = module((images.astype(">f4"), labels)), module((images, labels))
    assert torch.equal(swapped.train_dataloader().batch(0)[0], plain.train_dataloader().batch(0)[0])


MODULES = [
    getattr(data_modules, name)
    for name in data_modules.__all__
    if name.endswith("DataModule") and name != "FolderDataModule"  # tested in tests/data/folder
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_constructor_arguments_are_keyword_only_and_each_has_its_own_help_text(module):
    parameters = list(inspect.signature(module.__init__).parameters.values())[1:]
    positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert len(positional) <= (3 if module is ArrayDataModule else 2)
    documentation = docstring_parser.parse(module.__doc__)
    texts = {entry.arg_name: entry.description for entry in documentation.params}
    assert list(texts) == [parameter.name for parameter in parameters]
    for name, text in texts.items():
        assert text[0].isupper(), name
        assert text.endswith("."), name
        assert len(text.split()) > 2, name
    assert "Example:" in module.__doc__


def test_the_info_of_a_data_set_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DataInfo("toy", None, "dsa", "CC0", "user arrays").name = "other"
