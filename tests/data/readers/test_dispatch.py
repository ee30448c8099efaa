"""The reader of a file is chosen by suffix or content; a new format is one module and one entry of ``READERS``."""

from __future__ import annotations

import numpy as np
import pytest

from lightning_distill import FolderDataModule
from lightning_distill.data.readers import DecodedImage, InvalidReadOption, Reader, ReadOptions, dispatch, read_image

MAGIC = b"TOY1"


def read_toy(path, options, name, mask=None):
    """Read 4 x 5 grey pixels behind four bytes that identify the format."""
    content = path.read_bytes()
    return DecodedImage(np.frombuffer(content, np.uint8, 20, offset=4).reshape(1, 4, 5), "8 bit, 0 to 255", "grey")


def detect_toy(path):
    with path.open("rb") as file:
        return file.read(4) == MAGIC


TOY = Reader((".toy",), read_toy, detect=detect_toy)


def pixels(n):
    return np.random.default_rng(n).integers(0, 256, (4, 5), np.uint8)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Class folders with four toy files each; half of the files are recognised by their content only."""
    monkeypatch.setattr(dispatch, "READERS", (*dispatch.READERS, TOY))
    for n in range(8):
        path = tmp_path / "root" / "ab"[n // 4] / (f"{n}.TOY" if n % 2 else str(n))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MAGIC + pixels(n).tobytes())
    return tmp_path / "root"


def test_a_new_format_is_one_reader_and_one_entry(root):
    data = FolderDataModule(str(root), val_fraction=0.25)
    assert data.spec.shape == (1, 4, 5)
    images = np.concatenate([data.splits[split][0][:, 0] for split in ("train", "val")])
    numbers = sorted(next(n for n in range(8) if np.array_equal(image, pixels(n))) for image in images)
    assert numbers == list(range(8))


def test_a_truncated_file_of_a_new_format_is_named_and_may_be_skipped(root):
    (root / "b" / "7.TOY").write_bytes(MAGIC)
    with pytest.raises(ValueError, match=r"cannot read b/7.TOY: it is truncated, damaged .*on_error='skip'"):
        FolderDataModule(str(root), val_fraction=0.25).setup()
    data = FolderDataModule(str(root), val_fraction=0.25, on_error="skip")
    with pytest.warns(UserWarning, match="1 of 8 files"):
        data.setup()


def test_only_volume_formats_take_a_mask(root, monkeypatch):
    assert not dispatch.is_volume("x.toy")
    with pytest.raises(InvalidReadOption, match=r"7.TOY is not a volume; frames='mask' needs volumes"):
        read_image(root / "b" / "7.TOY", ReadOptions(frames="mask"), mask=root / "b" / "6")
    volume = Reader((".toy",), lambda path, options, name, mask=None: read_toy(mask, options, name), is_volume=True)
    monkeypatch.setattr(dispatch, "READERS", (volume,))
    assert dispatch.is_volume("x.TOY")
    picture = read_image(root / "b" / "7.TOY", ReadOptions(frames="mask"), mask=root / "b" / "6")
    np.testing.assert_array_equal(picture.pixels[0], pixels(6))


def test_suffixes_are_unique():
    suffixes = [suffix for reader in dispatch.READERS for suffix in reader.suffixes]
    assert len(suffixes) == len(set(suffixes))
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in suffixes)


def test_an_unsupported_file_lists_the_suffixes_of_all_readers(root, tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"x.txt: its format is not supported; convert it to one of png, .*, toy "):
        read_image(tmp_path / "x.txt")


def test_a_panic_of_a_decoder_in_rust_is_an_unreadable_file_and_ctrl_c_is_not():
    from lightning_distill.data.readers.base import UnreadableFile, translate_decoder_errors

    panic = type("PanicException", (BaseException,), {})
    with (
        pytest.raises(UnreadableFile, match=r"cannot read scan\.dcm: it is truncated"),
        translate_decoder_errors("scan.dcm"),
    ):
        raise panic("index out of range")
    with pytest.raises(KeyboardInterrupt), translate_decoder_errors("scan.dcm"):
        raise KeyboardInterrupt
