"""Tests of npz files: no pickle, memory-mapping of large arrays, errors for broken files."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_distill import NpzDataModule
from lightning_distill.data.npz import read_npz, splits_of

ALWAYS, NEVER = -1, 1 << 40


def arrays(seed=0):
    random = np.random.default_rng(seed)
    return {
        "train_images": random.integers(0, 256, (12, 6, 6, 3), np.uint8),
        "train_labels": np.arange(12, dtype=np.uint8)[:, None] % 3,
        "val_images": random.integers(0, 256, (6, 6, 6, 3), np.uint8),
        "val_labels": np.arange(6, dtype=np.uint8)[:, None] % 3,
    }


@pytest.fixture
def packed(tmp_path):
    np.savez_compressed(tmp_path / "toy.npz", **arrays())
    return tmp_path / "toy.npz"


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("map_above", [ALWAYS, 400, NEVER])
def test_every_array_is_read_as_it_was_written_mapped_or_not(tmp_path, save, map_above):
    written = {**arrays(), "floats": np.linspace(0, 1, 7, dtype=np.float32), "names": np.array(["a", "bc"])}
    save(tmp_path / "toy.npz", **written)
    read = read_npz(tmp_path / "toy.npz", map_above)
    assert list(read) == list(written)
    for key, array in written.items():
        assert read[key].dtype == array.dtype
        np.testing.assert_array_equal(read[key], array)
        on_disk = map_above == ALWAYS or (map_above == 400 and array.nbytes > 400)
        assert isinstance(read[key], np.memmap) == on_disk, key


def test_unpacking_happens_once_and_leaves_nothing_else_behind(packed):
    read_npz(packed, ALWAYS)
    folder = packed.with_suffix("")
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == sorted(arrays())
    assert {path.suffix for path in folder.iterdir()} == {".npy"}
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    read_npz(packed, ALWAYS)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == times


def test_a_half_unpacked_array_is_unpacked_again(packed):
    read_npz(packed, ALWAYS)
    (target,) = packed.with_suffix("").glob("train_images-*.npy")
    target.write_bytes(target.read_bytes()[:200])
    np.testing.assert_array_equal(read_npz(packed, ALWAYS)["train_images"], arrays()["train_images"])


def test_a_file_that_was_replaced_is_unpacked_again(packed):
    read_npz(packed, ALWAYS)
    np.savez_compressed(packed, **arrays(seed=1))
    np.testing.assert_array_equal(read_npz(packed, ALWAYS)["train_images"], arrays(seed=1)["train_images"])


def test_a_disk_that_is_full_while_unpacking_leaves_no_partial_file(packed, monkeypatch):
    def full(source, target, length):
        target.write(source.read(50))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        read_npz(packed, ALWAYS)
    assert list(packed.with_suffix("").iterdir()) == []


class Evil:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("map_above", [ALWAYS, NEVER])
def test_python_objects_are_refused_and_never_unpickled(tmp_path, map_above):
    bomb = np.empty(1, object)
    bomb[0] = Evil(tmp_path / "exploded")
    np.savez(tmp_path / "toy.npz", **{**arrays(), "extra": bomb})
    with pytest.raises(ValueError, match=r"cannot read toy.npz: it holds Python objects"):
        read_npz(tmp_path / "toy.npz", map_above)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_refused_by_name(packed, share):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ValueError, match=r"cannot read toy.npz: it is truncated or corrupted"):
        read_npz(packed)


@pytest.mark.parametrize("content", [b"not a zip", b"\x93NUMPY\x01\x00", b"<html>404</html>" * 50])
def test_a_file_that_is_no_npz_is_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read x.npz: it is truncated or corrupted"):
        read_npz(tmp_path / "x.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("map_above", [ALWAYS, NEVER])
def test_no_changed_byte_gives_other_arrays_or_another_error(tmp_path, save, map_above):
    written = {"train_images": np.arange(200, dtype=np.uint8) // 3, "train_labels": np.arange(9)}
    memory = io.BytesIO()
    save(memory, **written)
    content = memory.getvalue()
    path, outcomes = tmp_path / "toy.npz", set()
    for place in range(0, len(content), 5 if map_above == ALWAYS else 2):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        shutil.rmtree(tmp_path / "toy", ignore_errors=True)
        try:
            read = read_npz(path, map_above)
        except Exception as error:
            outcomes.add(f"{type(error).__name__}: {str(error)[:20]}")
            continue
        for key in set(read) & set(written):
            np.testing.assert_array_equal(read[key], written[key], err_msg=f"byte {place}")
    assert outcomes == {"ValueError: cannot read toy.npz:"}


@pytest.mark.parametrize("map_above", [ALWAYS, NEVER])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch, map_above):
    zeros = np.zeros((2000, 100, 100), np.uint8)
    np.savez_compressed(tmp_path / "toy.npz", **{**arrays(), "train_images": zeros})
    assert read_npz(tmp_path / "toy.npz")["train_images"].shape == zeros.shape  # black images of a sane size
    monkeypatch.setattr("lightning_distill.data.npz.BOMB_ABOVE", 1 << 20)
    with pytest.raises(ValueError, match=r"cannot read toy.npz: its [\d,]+ bytes would unpack to 20,00\d,\d+, more "
                       r"than 200 times its size; .* numpy.savez"):  # fmt: skip
        read_npz(tmp_path / "toy.npz", map_above)
    assert not (tmp_path / "toy").exists()
    np.savez(tmp_path / "toy.npz", **{**arrays(), "train_images": zeros})
    assert read_npz(tmp_path / "toy.npz")["train_images"].shape == zeros.shape


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("map_above", [ALWAYS, NEVER])
def test_an_absurd_shape_is_refused_before_room_is_made(tmp_path, version, map_above):
    memory = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": (10**7, 10**5, 10**5)}
    write = np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    write(memory, about)
    with zipfile.ZipFile(tmp_path / "toy.npz", "w") as archive:
        archive.writestr("train_images.npy", memory.getvalue() + bytes(100))
    with pytest.raises(ValueError, match=r"cannot read toy.npz: it is truncated or corrupted"):
        read_npz(tmp_path / "toy.npz", map_above)


@pytest.mark.parametrize("name", ["gone.npz", "folder"])
def test_a_missing_file_is_named_with_its_folder(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=rf"{name} is not in .*{tmp_path.name}"):
        read_npz(tmp_path / name)


def test_a_member_cannot_be_unpacked_outside_its_folder(tmp_path):
    memory = io.BytesIO()
    np.save(memory, np.arange(5))
    with zipfile.ZipFile(tmp_path / "toy.npz", "w") as archive:
        archive.writestr("../../escaped.npy", memory.getvalue())
    read_npz(tmp_path / "toy.npz", ALWAYS)
    assert not list(tmp_path.parent.glob("escaped.npy"))
    assert not list(tmp_path.glob("escaped.npy"))


def test_splits_pair_images_with_labels():
    contents = arrays()
    splits = splits_of(contents, "toy.npz")
    assert list(splits) == ["train", "val", "test"]
    assert splits["train"][0] is contents["train_images"]
    assert splits["val"][1] is contents["val_labels"]
    assert splits["test"] is None


@pytest.mark.parametrize(
    ("without", "message"),
    [
        (("train_images", "train_labels"), "toy.npz has no train_images; it holds val_images, val_labels"),
        (("train_labels",), "toy.npz needs both train_images and train_labels"),
        (("val_images",), "toy.npz needs both val_images and val_labels"),
    ],
)
def test_an_incomplete_file_is_refused_with_what_it_holds(without, message):
    with pytest.raises(ValueError, match=message):
        splits_of({key: array for key, array in arrays().items() if key not in without}, "toy.npz")


def test_a_users_file_becomes_a_data_module(packed):
    data = NpzDataModule(str(packed), class_names=["ant", "bee", "cat"], license="CC0", source="mine", real_per_class=2)
    assert (data.spec.name, data.spec.license, data.spec.source) == ("npz", "CC0", "mine")  # the stem may be a patient
    assert NpzDataModule(packed, name="clinic").spec.name == "clinic"
    assert data.spec.shape == (3, 6, 6)
    assert data.spec.class_names == ("ant", "bee", "cat")
    x, y = data.train_dataloader().batch(0)
    assert x.dtype == torch.uint8
    assert y.tolist() == [0, 0, 1, 1, 2, 2]
    np.testing.assert_array_equal(data.splits["val"][0], arrays()["val_images"].transpose(0, 3, 1, 2))


def test_a_file_without_validation_images_gets_a_carved_out_split(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((40, 6, 6), "u1"), train_labels=np.arange(40) % 2)
    data = NpzDataModule(str(tmp_path / "x.npz"), val_fraction=0.25)
    data.setup()
    assert np.bincount(data.splits["train"][1]).tolist() == [15, 15]
    assert np.bincount(data.splits["val"][1]).tolist() == [5, 5]


def test_making_the_module_reads_nothing(tmp_path):
    data = NpzDataModule(str(tmp_path / "absent.npz"))
    with pytest.raises(FileNotFoundError, match=r"absent\.npz"):
        data.setup()
