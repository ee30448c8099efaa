"""Tests of ``MedMNISTDataModule``, on small generated files, and on the official files where available."""

from __future__ import annotations

import hashlib
from pathlib import Path

import medmnist
import numpy as np
import pytest
import torch

from lightning_distill import MedMNISTDataModule
from lightning_distill.augmentation.presets import MODALITIES, PRESETS, describe

#: What each set shows, and the preset that it is therefore given.
SHOWS = {
    "pathmnist": ("histology", "dsa"),
    "chestmnist": ("chest_xray", "dsa_noflip"),
    "dermamnist": ("dermatoscopy", "dsa"),
    "octmnist": ("oct", "dsa"),
    "pneumoniamnist": ("chest_xray", "dsa_noflip"),
    "retinamnist": ("fundus", "dsa"),
    "breastmnist": ("breast_ultrasound", "dsa"),
    "bloodmnist": ("blood_smear", "dsa"),
    "tissuemnist": ("fluorescence", "dsa"),
    "organamnist": ("ct", "dsa_grey_noflip"),
    "organcmnist": ("ct", "dsa_grey_noflip"),
    "organsmnist": ("ct", "dsa_grey_noflip"),
}
#: name: (channels, classes, task, may be mirrored)
SETS = {
    "pathmnist": (3, 9, "multi-class", True),
    "chestmnist": (1, 14, "multi-label", False),
    "dermamnist": (3, 7, "multi-class", True),
    "octmnist": (1, 4, "multi-class", True),
    "pneumoniamnist": (1, 2, "binary", False),
    "retinamnist": (3, 5, "ordinal", True),
    "breastmnist": (1, 2, "binary", True),
    "bloodmnist": (3, 8, "multi-class", True),
    "tissuemnist": (1, 8, "multi-class", True),
    "organamnist": (1, 11, "multi-class", False),
    "organcmnist": (1, 11, "multi-class", False),
    "organsmnist": (1, 11, "multi-class", False),
}


def write(folder, name, size=28, seed=0):
    """A file in MedMNIST's form: uint8 images without a channel axis where grey, labels (n, 1) or (n, 14) uint8."""
    channels, classes, task, _ = SETS[name]
    random = np.random.default_rng(seed)
    arrays = {}
    for split, count in (("train", 2 * classes), ("val", classes), ("test", classes)):
        shape = (count, size, size) if channels == 1 else (count, size, size, 3)
        labels = random.integers(0, 2, (count, 14)) if task == "multi-label" else np.arange(count)[:, None] % classes
        arrays |= {f"{split}_images": random.integers(0, 256, shape, np.uint8)}
        arrays |= {f"{split}_labels": labels.astype(np.uint8)}
    path = folder / (f"{name}.npz" if size == 28 else f"{name}_{size}.npz")
    np.savez(path, **arrays)
    return arrays


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("name", SETS)
def test_every_set_is_read_with_its_shape_classes_task_and_valid_augmentation(tmp_path, name, size):
    channels, classes, task, mirrored = SETS[name]
    written = write(tmp_path, name, size)
    data = MedMNISTDataModule(name, size=size, root=str(tmp_path), download=False, real_per_class=3)
    spec = data.spec
    assert spec.name == (name if size == 28 else f"{name}_{size}")
    assert spec.shape == (channels, size, size)
    assert spec.num_classes == classes
    assert list(spec.class_names) == list(medmnist.INFO[name]["label"].values())
    assert spec.task == task
    assert spec.license == medmnist.INFO[name]["license"]
    assert ("flip" in PRESETS[spec.augmentation]) == mirrored
    modality, preset = SHOWS[name]
    assert spec.augmentation == MODALITIES[modality] == preset
    words = describe(spec.augmentation, channels)
    assert ("mirror left-right" in words) == mirrored
    assert ("saturation" in words) == (channels == 3)  # colours change only where there are some
    assert "up-down" not in words
    assert spec.source == "not the official file"
    assert (spec.storage_dtype, spec.min_value, spec.max_value) == ("uint8", 0.0, 255.0)
    for split in ("train", "val", "test"):
        images, labels = data.splits[split]
        last = written[f"{split}_images"].reshape(len(images), size, size, channels)
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, last.transpose(0, 3, 1, 2))
        expected = written[f"{split}_labels"]
        np.testing.assert_array_equal(labels, expected if task == "multi-label" else expected[:, 0])
    if task != "multi-label":
        x, y = data.train_dataloader().batch(0)
        assert x.shape == (3 * classes, channels, size, size)
        assert torch.bincount(y).tolist() == [3] * classes
    x, y = next(iter(data.val_dataloader()))
    assert y.shape == ((classes, 14) if task == "multi-label" else (classes,))


def test_these_are_all_the_2d_sets_of_the_package():
    assert sorted(SETS) == sorted(name for name in medmnist.INFO if not name.endswith("3d"))


def test_a_given_augmentation_and_source_win(tmp_path):
    write(tmp_path, "organamnist")
    options = {"augmentation": "dsa", "source": "reassembled"}
    spec = MedMNISTDataModule("organamnist", root=str(tmp_path), download=False, **options).spec
    assert (spec.augmentation, spec.source) == ("dsa", "reassembled")


def test_root_comes_from_the_argument_then_from_the_variable_then_from_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "variable"))
    assert MedMNISTDataModule("breastmnist", root=str(tmp_path / "given")).path == tmp_path / "given/breastmnist.npz"
    assert MedMNISTDataModule("breastmnist").path == tmp_path / "variable/breastmnist.npz"
    assert MedMNISTDataModule("breastmnist", size=128).path == tmp_path / "variable/breastmnist_128.npz"
    monkeypatch.delenv("MEDMNIST_ROOT")
    assert MedMNISTDataModule("breastmnist").path == Path(medmnist.info.DEFAULT_ROOT) / "breastmnist.npz"


def test_the_argument_wins_over_the_variable_when_reading(tmp_path, monkeypatch):
    for place, seed in (("given", 1), ("variable", 2)):
        (tmp_path / place).mkdir()
        write(tmp_path / place, "breastmnist", seed=seed)
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path / "variable"))
    images = MedMNISTDataModule("breastmnist", root=str(tmp_path / "given"), download=False).train_arrays()[0]
    variable = MedMNISTDataModule("breastmnist", download=False).train_arrays()[0]
    assert not np.array_equal(images, variable)


@pytest.mark.parametrize(
    ("name", "offered"),
    [
        ("pneumonia", "pneumoniamnist"), ("BreastMNIST", "breastmnist"), ("organmnist", "organ[acs]mnist"),
        ("organmnist3d", "organ[acs]mnist"), ("", "pathmnist"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_refused_with_the_closest(name, offered):
    with pytest.raises(ValueError, match=rf"unknown MedMNIST set '{name}'; closest: .*{offered}"):
        MedMNISTDataModule(name)


@pytest.mark.parametrize("size", [0, 32, 256])
def test_an_unknown_size_is_refused_with_the_sizes_there_are(size):
    with pytest.raises(ValueError, match=rf"size={size}; MedMNIST has 28, 64, 128, 224"):
        MedMNISTDataModule("breastmnist", size=size)


def test_a_missing_file_is_named_when_downloading_is_off(tmp_path):
    data = MedMNISTDataModule("bloodmnist", size=64, root=str(tmp_path), download=False)
    with pytest.raises(FileNotFoundError, match=r"bloodmnist_64\.npz is not in "):
        data.setup()


def test_a_missing_file_is_fetched_through_the_package_when_downloading_is_on(tmp_path, monkeypatch):
    requests = []

    def fetch(split, root, size, download):
        requests.append((split, root, size, download))
        write(Path(root), "bloodmnist", size)

    monkeypatch.setattr(medmnist, medmnist.INFO["bloodmnist"]["python_class"], fetch)
    data = MedMNISTDataModule("bloodmnist", size=64, root=str(tmp_path / "new"))
    data.prepare_data()
    data.prepare_data()
    assert data.spec.shape == (3, 64, 64)
    assert requests == [("train", str(tmp_path / "new"), 64, True)]


def test_a_download_that_fails_says_where_the_file_is_to_be_had(tmp_path, monkeypatch):
    def fetch(**_):
        raise RuntimeError("no network")

    monkeypatch.setattr(medmnist, medmnist.INFO["bloodmnist"]["python_class"], fetch)
    with pytest.raises(FileNotFoundError, match=r"cannot be downloaded; save http.*bloodmnist_64\.npz"):
        MedMNISTDataModule("bloodmnist", size=64, root=str(tmp_path)).prepare_data()


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_a_truncated_file_is_refused(tmp_path, share):
    write(tmp_path, "breastmnist")
    path = tmp_path / "breastmnist.npz"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ValueError, match=r"cannot read breastmnist\.npz: it is truncated or corrupted"):
        MedMNISTDataModule("breastmnist", root=str(tmp_path), download=False).setup()


def test_the_checksum_of_the_size_decides_whether_a_file_is_official(tmp_path, monkeypatch):
    for size, key in ((28, "MD5"), (64, "MD5_64")):
        write(tmp_path, "breastmnist", size)
        path = tmp_path / ("breastmnist.npz" if size == 28 else "breastmnist_64.npz")
        monkeypatch.setitem(medmnist.INFO["breastmnist"], key, hashlib.md5(path.read_bytes()).hexdigest())
        data = MedMNISTDataModule("breastmnist", size=size, root=str(tmp_path), download=False)
        assert data.spec.source == "official file"


def test_a_large_file_is_not_read_a_second_time_for_its_checksum(tmp_path, monkeypatch):
    write(tmp_path, "breastmnist")
    monkeypatch.setattr("lightning_distill.data.medmnist.file.MAP_ABOVE", 100)
    data = MedMNISTDataModule("breastmnist", root=str(tmp_path), download=False)
    assert data.spec.source == "not compared with the official file"


@pytest.mark.parametrize(
    ("name", "size", "counts", "shape", "source"),
    [
        ("breastmnist", 28, (546, 78, 156), (1, 28, 28), "official file"),
        ("breastmnist", 64, (546, 78, 156), (1, 64, 64), "not the official file"),
        ("pneumoniamnist", 28, (4708, 524, 624), (1, 28, 28), "not the official file"),
    ],
)
def test_real_files_are_read_and_named_for_what_they_are(real_medmnist, name, size, counts, shape, source):
    data = MedMNISTDataModule(name, size=size, root=str(real_medmnist), download=False)
    assert data.spec.source == source
    assert data.spec.shape == shape
    assert data.spec.task == "binary"
    assert tuple(len(data.splits[split][1]) for split in ("train", "val", "test")) == counts
    assert data.spec.mean[0] == pytest.approx(data.train_arrays()[0].astype(np.float64).mean(), rel=1e-9)


def test_the_real_breast_file_has_its_classes_in_order(real_medmnist):
    data = MedMNISTDataModule("breastmnist", root=str(real_medmnist), download=False)
    assert data.spec.class_names == ("malignant", "normal, benign")
    assert np.bincount(data.train_arrays()[1]).tolist() == [147, 399]


def test_the_real_pneumonia_file_has_more_pneumonia_than_normal(real_medmnist):
    data = MedMNISTDataModule("pneumoniamnist", root=str(real_medmnist), download=False)
    counts = np.bincount(data.train_arrays()[1])
    assert data.spec.class_names == ("normal", "pneumonia")
    assert counts[1] > 2 * counts[0]
    assert data.spec.augmentation == "dsa_noflip"
