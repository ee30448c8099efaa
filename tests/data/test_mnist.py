"""Tests of idx files and ``MNISTDataModule``, on small generated files, and on the official files where available."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from conftest import REAL

from lightning_distill import MNISTDataModule
from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.data.mnist import read_idx

#: code of a type in an idx file's header, and the type as it lies in the file
TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
BROKEN = r"cannot read toy\.gz: it is truncated or corrupted; download it again"


def packed_as_idx(array: np.ndarray, code: int = 8) -> bytes:
    """The format: two zero bytes, the type, the number of dimensions, their sizes (big-endian), the values."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(TYPES[code]).tobytes()


def write(folder: Path, name: str, array: np.ndarray, code: int = 8, pack: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = packed_as_idx(array, code)
    (folder / (f"{name}.gz" if pack else name)).write_bytes(gzip.compress(content) if pack else content)
    return folder / name


def numbers(shape=(5, 4, 3)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 128, shape)


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("shape", [(7,), (5, 4, 3), (2, 3)])
def test_an_array_is_read_as_it_was_written_packed_or_not(tmp_path, shape, pack):
    read = read_idx(write(tmp_path, "toy", numbers(shape), pack=pack))
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, numbers(shape))


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(
    ("code", "dtype", "values"),
    [
        (9, "int8", [-128, 127]), (11, "int16", [-300, 258]), (12, "int32", [-70000, 1]),
        (13, "float32", [1.5, -2e-3]), (14, "float64", [0.1, 1e300]),
    ],
)  # fmt: skip
def test_numbers_of_several_bytes_are_big_endian_in_the_file_and_native_in_memory(tmp_path, code, dtype, values, pack):
    read = read_idx(write(tmp_path, "toy", np.array(values), code, pack))
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, np.array(values, dtype))


def test_the_bytes_of_the_format_by_hand(tmp_path):
    (tmp_path / "toy").write_bytes(bytes.fromhex("00000b0200000001000000030001ffff0100"))
    assert read_idx(tmp_path / "toy").tolist() == [[1, -1, 256]]


def test_what_was_read_can_be_written_to(tmp_path):
    read = read_idx(write(tmp_path, "toy", numbers()))
    read += 1
    np.testing.assert_array_equal(read, numbers() + 1)


def test_of_both_files_the_unpacked_one_is_read(tmp_path):
    write(tmp_path, "toy", np.array([1]), pack=True)
    assert read_idx(write(tmp_path, "toy", np.array([2]))).tolist() == [2]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.99])
def test_a_truncated_packed_file_is_refused_by_name(tmp_path, share):
    content = gzip.compress(packed_as_idx(numbers()))
    (tmp_path / "toy.gz").write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=BROKEN):
        read_idx(tmp_path / "toy")


def test_a_packed_file_that_is_no_gzip_is_refused_by_name(tmp_path):
    (tmp_path / "toy.gz").write_bytes(b"<html>404</html>" * 50)
    with pytest.raises(ValueError, match=BROKEN):
        read_idx(tmp_path / "toy")


def test_no_changed_byte_of_a_packed_file_gives_another_array_or_another_error(tmp_path):
    content, refusals = gzip.compress(packed_as_idx(numbers((200,)) // 9)), []
    for place in range(len(content)):
        (tmp_path / "toy.gz").write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read = read_idx(tmp_path / "toy")
        except ValueError as error:
            refusals.append(str(error))
            continue
        np.testing.assert_array_equal(read, numbers((200,)) // 9, err_msg=f"byte {place}")
    assert len(refusals) > len(content) / 2
    assert all("toy" in refusal for refusal in refusals)


@pytest.mark.parametrize("code", [8, 11, 13])
@pytest.mark.parametrize("lost", [1, 2, 8, 40])
@pytest.mark.parametrize("pack", [False, True])
def test_a_truncated_payload_is_refused_by_name(tmp_path, code, lost, pack):
    content = packed_as_idx(numbers(), code)[:-lost]
    (tmp_path / ("toy.gz" if pack else "toy")).write_bytes(gzip.compress(content) if pack else content)
    with pytest.raises(ValueError, match=r"toy.*download it again"):
        read_idx(tmp_path / "toy")


def test_a_payload_of_other_size_is_refused_with_both_sizes(tmp_path):
    (tmp_path / "toy").write_bytes(packed_as_idx(numbers()) + b"more")
    with pytest.raises(ValueError, match=r"toy holds 64 values, its header says 60; download it again"):
        read_idx(tmp_path / "toy")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"not an idx file",
        b"\0\0\x07\x01" + bytes(8),
        b"\0\x01\x08\x01" + bytes(8),
        b"\0\0\x08\x03\0\0",
    ],
)
def test_a_file_that_is_no_idx_is_refused(tmp_path, content):
    (tmp_path / "toy").write_bytes(content)
    with pytest.raises(ValueError, match="toy is not an idx file; download it again"):
        read_idx(tmp_path / "toy")


def test_a_missing_file_is_named_with_its_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match=rf"neither toy nor toy\.gz is in .*{tmp_path.name}; check root"):
        read_idx(tmp_path / "toy")


def pictures(count: int, seed: int) -> np.ndarray:
    """Images 28x28, each with its own number in its first two pixels."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) // 256, np.arange(count) % 256
    return images


def write_set(folder: Path, pack: bool = True, seed: int = 0) -> dict[str, np.ndarray]:
    """Twenty training and five test images of each of ten classes."""
    arrays = {}
    for prefix, per_class in (("train", 20), ("t10k", 5)):
        labels = np.random.default_rng(seed).permutation(np.arange(10 * per_class) % 10)
        arrays |= {f"{prefix}-images-idx3-ubyte": pictures(len(labels), seed), f"{prefix}-labels-idx1-ubyte": labels}
    for name, array in arrays.items():
        write(folder, name, array, pack=pack)
    return arrays


def numbers_of(images: np.ndarray) -> list[int]:
    return (256 * images[:, 0, 0, 0].astype(int) + images[:, 0, 0, 1]).tolist()


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize(
    ("name", "first", "last", "augmentation", "license"),
    [("mnist", "0", "9", "dsa_noflip", "CC BY-SA 3.0"), ("fashionmnist", "T-shirt/top", "Ankle boot", "dsa", "MIT")],
)
def test_the_set_is_described_and_may_be_mirrored_only_where_that_is_valid(
    tmp_path, name, first, last, augmentation, license, pack
):
    written = write_set(tmp_path, pack)
    data = MNISTDataModule(name, root=str(tmp_path), download=False, real_per_class=3, batch_size=20, steps_per_epoch=4)
    spec = data.spec
    assert (spec.name, spec.shape, spec.task, spec.license) == (name, (1, 28, 28), "multi-class", license)
    assert (len(spec.class_names), spec.class_names[0], spec.class_names[-1]) == (10, first, last)
    assert spec.augmentation == augmentation
    assert ("flip" in PRESETS[spec.augmentation]) == (name == "fashionmnist")
    assert spec.source == "not the official files"
    assert (spec.storage_dtype, spec.min_value, spec.max_value) == ("uint8", 0.0, 255.0)
    images, labels = data.splits["test"]
    np.testing.assert_array_equal(images[:, 0], written["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(labels, written["t10k-labels-idx1-ubyte"])
    x, y = data.train_dataloader().batch(0)
    assert (x.dtype, x.shape) == (torch.uint8, (30, 1, 28, 28))
    assert torch.bincount(y).tolist() == [3] * 10
    assert len(data.train_dataloader()) == 4
    assert [len(y) for _, y in data.test_dataloader()] == [20, 20, 10]


def test_a_given_augmentation_wins(tmp_path):
    write_set(tmp_path)
    assert MNISTDataModule(root=str(tmp_path), download=False, augmentation="none").spec.augmentation == "none"


@pytest.mark.parametrize(("fraction", "carved"), [(0.1, 2), (0.25, 5)])
def test_validation_images_are_carved_out_of_train_by_class_and_none_is_in_both(tmp_path, fraction, carved):
    written = write_set(tmp_path)
    data = MNISTDataModule(root=str(tmp_path), download=False, val_fraction=fraction)
    data.setup()
    assert np.bincount(data.splits["train"][1]).tolist() == [20 - carved] * 10
    assert np.bincount(data.splits["val"][1]).tolist() == [carved] * 10
    assert np.bincount(data.splits["test"][1]).tolist() == [5] * 10
    train, val = numbers_of(data.splits["train"][0]), numbers_of(data.splits["val"][0])
    assert sorted(train + val) == list(range(200))
    for split, rows in (("train", train), ("val", val)):
        images, labels = data.splits[split]
        np.testing.assert_array_equal(images[:, 0], written["train-images-idx3-ubyte"][rows])
        np.testing.assert_array_equal(labels, written["train-labels-idx1-ubyte"][rows])


def test_statistics_are_of_the_training_images_alone(tmp_path):
    write_set(tmp_path)
    data = MNISTDataModule(root=str(tmp_path), download=False)
    pixels = data.train_arrays()[0]
    assert data.spec.mean == (pytest.approx(pixels.astype(np.float64).mean(), rel=1e-9),)
    assert data.spec.std == (pytest.approx(pixels.astype(np.float64).std(), rel=1e-9),)


def test_the_seed_decides_what_is_carved_out(tmp_path):
    write_set(tmp_path)
    carved = []
    for seed in (0, 0, 1):
        data = MNISTDataModule(root=str(tmp_path), download=False, seed=seed)
        data.setup()
        carved.append(numbers_of(data.splits["val"][0]))
    assert carved[0] == carved[1] != carved[2]


@pytest.mark.parametrize(("name", "below"), [("mnist", "MNIST/raw"), ("fashionmnist", "FashionMNIST/raw")])
@pytest.mark.parametrize("pack", [False, True])
def test_root_is_the_files_folder_or_one_above_as_torchvision_has_it(tmp_path, name, below, pack):
    above, direct = tmp_path / "above", tmp_path / "direct"
    for folder in (above / below, direct):
        write_set(folder, pack)
    data = MNISTDataModule(name, root=str(above), download=False)
    assert data.folder == above / below
    assert data.spec.shape == (1, 28, 28)
    assert MNISTDataModule(name, root=str(direct), download=False).folder == direct


def test_digits_and_clothes_below_one_root_are_not_mixed_up(tmp_path):
    digits = write_set(tmp_path / "MNIST/raw", seed=1)
    clothes = write_set(tmp_path / "FashionMNIST/raw", seed=2)
    for name, written in (("mnist", digits), ("fashionmnist", clothes)):
        data = MNISTDataModule(name, root=str(tmp_path), download=False)
        data.setup()
        np.testing.assert_array_equal(data.splits["test"][0][:, 0], written["t10k-images-idx3-ubyte"])


@pytest.mark.parametrize(("name", "below"), [("mnist", "MNIST/raw"), ("fashionmnist", "FashionMNIST/raw")])
def test_root_comes_from_the_argument_then_from_the_variable_then_from_the_cache(tmp_path, monkeypatch, name, below):
    variable = f"{name.upper()}_ROOT"
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv(variable, str(tmp_path / "variable"))
    assert MNISTDataModule(name, root=str(tmp_path / "given")).folder == tmp_path / "given" / below
    assert MNISTDataModule(name).folder == tmp_path / "variable" / below
    monkeypatch.delenv(variable)
    assert MNISTDataModule(name).folder == tmp_path / "home/.cache/lightning_distill" / below


def test_the_variable_leads_to_the_files(tmp_path, monkeypatch):
    for place, seed in (("given", 1), ("variable", 2)):
        write_set(tmp_path / place, seed=seed)
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "variable"))
    for options, seed in (({"root": str(tmp_path / "given")}, 1), ({}, 2)):
        data = MNISTDataModule(download=False, **options)
        data.setup()
        np.testing.assert_array_equal(data.splits["test"][0][:, 0], pictures(50, seed))


def test_missing_files_are_named_with_what_to_do_when_downloading_is_off(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets, "MNIST", lambda *_, **__: pytest.fail("it downloads"))
    data = MNISTDataModule(root=str(tmp_path), download=False)
    data.prepare_data()
    with pytest.raises(FileNotFoundError, match=r"neither train-images-idx3-ubyte nor .*MNIST/raw; check root"):
        data.setup()


@pytest.mark.parametrize(
    ("name", "kind", "below"), [("mnist", "MNIST", "MNIST/raw"), ("fashionmnist", "FashionMNIST", "FashionMNIST/raw")]
)
def test_missing_files_are_fetched_once_through_torchvision_when_downloading_is_on(
    tmp_path, monkeypatch, name, kind, below
):
    requests = []

    def fetch(root, download):
        requests.append((root, download))
        write_set(Path(root) / below)

    monkeypatch.setattr(torchvision.datasets, kind, fetch)
    data = MNISTDataModule(name, root=str(tmp_path / "new"))
    data.prepare_data()
    data.prepare_data()
    assert data.spec.shape == (1, 28, 28)
    assert requests == [(str(tmp_path / "new"), True)]


def test_a_download_that_broke_off_is_completed(tmp_path, monkeypatch):
    def fetch(root, download):
        write_set(Path(root) / "MNIST/raw")

    write(tmp_path / "MNIST/raw", "train-images-idx3-ubyte", pictures(200, 0))  # the three other files are missing
    monkeypatch.setattr(torchvision.datasets, "MNIST", fetch)
    assert MNISTDataModule(root=str(tmp_path)).spec.shape == (1, 28, 28)


def test_making_the_module_reads_nothing(tmp_path):
    data = MNISTDataModule(root=str(tmp_path / "absent"), download=False)
    with pytest.raises(FileNotFoundError, match="absent"):
        data.setup()


@pytest.mark.parametrize("name", ["MNIST", "kmnist", ""])
def test_an_unknown_name_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match=rf"unknown name '{name}'; use mnist or fashionmnist"):
        MNISTDataModule(name)


def test_a_truncated_file_of_the_set_is_refused_by_name(tmp_path):
    write_set(tmp_path)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"cannot read t10k-labels-idx1-ubyte\.gz: it is truncated or corrupted"):
        MNISTDataModule(root=str(tmp_path), download=False).setup()


def test_files_are_called_official_by_the_checksum_of_the_unpacked_training_images(tmp_path, monkeypatch):
    # the header of the real file says 60,000 images, so the generated file has to say so, too
    images = np.zeros((60000, 28, 28), np.uint8)
    images[:, 3, 4] = 7
    labels = np.arange(60000) % 10
    for name, array in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        write(tmp_path, name, array)
    for name, array in (("t10k-images-idx3-ubyte", pictures(50, 0)), ("t10k-labels-idx1-ubyte", labels[:50])):
        write(tmp_path, name, array)
    checksum = hashlib.md5((tmp_path / "train-images-idx3-ubyte").read_bytes()).hexdigest()
    data = MNISTDataModule(root=str(tmp_path), download=False)
    data.load_raw()
    assert data._info.source == "not the official files"
    monkeypatch.setitem(read_idx.__globals__["_MD5"], "mnist", checksum)
    data.load_raw()
    assert data._info.source == "official files"


def test_the_real_files_are_mnist():
    if not (REAL / "MNIST").is_dir():
        pytest.skip("no real data: ../shared/data/MNIST is absent")
    data = MNISTDataModule(root=str(REAL), download=False)
    assert data.spec.source == "official files"
    assert tuple(len(data.splits[split][1]) for split in ("train", "val", "test")) == (54000, 6000, 10000)
    assert data.spec.mean[0] / 255 == pytest.approx(0.1307, abs=2e-4)
    assert data.spec.std[0] / 255 == pytest.approx(0.3081, abs=2e-4)
    counts = sum(np.bincount(data.splits[split][1]) for split in ("train", "val"))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert data.splits["test"][1][:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
