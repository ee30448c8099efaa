"""DICOM data sets without preamble or meta header, written here byte by byte; and files that only look like one."""

from __future__ import annotations

import io
import shutil
import struct
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from lightning_distill import FolderDataModule
from lightning_distill.data.readers import InvalidReadOption, ReadOptions, UnreadableFile, is_image, read_image
from lightning_distill.data.readers.dicom import patient_of
from lightning_distill.data.readers.dicom_detect import has_preamble, is_headerless

CT, ROWS, COLUMNS = b"1.2.840.10008.5.1.4.1.1.2", 5, 7
PIXELS = (0x7FE0, 0x0010)


def stored(seed=0):
    return np.random.default_rng(seed).integers(-1000, 2000, (ROWS, COLUMNS)).astype("<i2")


def elements(seed=0, patient=b"P1", **changes):
    """Tags with representation and bytes of a CT slice, in ascending order; ``None`` leaves one out."""
    tags = {
        "charset": ((0x0008, 0x0005), b"CS", b"ISO_IR 100"),
        "sop_class": ((0x0008, 0x0016), b"UI", CT),
        "modality": ((0x0008, 0x0060), b"CS", b"CT"),
        "patient": ((0x0010, 0x0020), b"LO", patient),
        "samples": ((0x0028, 0x0002), b"US", struct.pack("<H", 1)),
        "photometric": ((0x0028, 0x0004), b"CS", b"MONOCHROME2"),
        "rows": ((0x0028, 0x0010), b"US", struct.pack("<H", ROWS)),
        "columns": ((0x0028, 0x0011), b"US", struct.pack("<H", COLUMNS)),
        "allocated": ((0x0028, 0x0100), b"US", struct.pack("<H", 16)),
        "bits": ((0x0028, 0x0101), b"US", struct.pack("<H", 16)),
        "high": ((0x0028, 0x0102), b"US", struct.pack("<H", 15)),
        "signed": ((0x0028, 0x0103), b"US", struct.pack("<H", 1)),
        "intercept": ((0x0028, 0x1052), b"DS", b"-24"),
        "slope": ((0x0028, 0x1053), b"DS", b"2"),
        "pixels": (PIXELS, b"OW", stored(seed).tobytes()),
    }
    for key, value in changes.items():
        tags[key] = None if value is None else (*tags[key][:2], value)
    return [element for element in tags.values() if element is not None]


def write(tags, explicit=False):
    """A data set, little endian, as PS3.5 section 7.1 has it; odd values padded."""
    content = b""
    for (group, number), kind, value in tags:
        value += (b"\0" if kind == b"UI" else b" ") * (len(value) % 2)
        content += struct.pack("<HH", group, number)
        if not explicit:
            content += struct.pack("<I", len(value))
        elif kind in (b"OW", b"OB"):
            content += kind + b"\0\0" + struct.pack("<I", len(value))
        else:
            content += kind + struct.pack("<H", len(value))
        content += value
    return content


@pytest.fixture
def save(tmp_path):
    def save(content, name="x.dcm"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    return save


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("name", ["x.dcm", "IM0001"])
def test_a_bare_data_set_is_read_value_by_value(save, explicit, name):
    path = save(write(elements(), explicit), name)
    assert is_headerless(path)
    assert not has_preamble(path)
    assert is_image(path)
    values = stored().astype(np.float64) * 2 - 24
    plain = read_image(path)
    np.testing.assert_allclose(plain.pixels[0], (values + 65560) / 131070, atol=1e-7)
    assert plain.scale == "16 bit, -65560 to 65510 as 0 to 1"
    lung = read_image(path, ReadOptions(window="lung"))
    np.testing.assert_allclose(lung.pixels[0], np.clip((values + 1350) / 1500, 0, 1), atol=1e-6)


def test_what_pydicom_writes_without_a_header_is_read_as_with_one(tmp_path):
    ds = pydicom.dcmread(get_testdata_file("MR_small.dcm", download=False))
    expected = read_image(get_testdata_file("MR_small.dcm", download=False)).pixels
    for implicit in (True, False):
        bare = pydicom.Dataset({element.tag: element for element in ds})
        bare.save_as(tmp_path / "bare", implicit_vr=implicit, little_endian=True, enforce_file_format=False)
        assert is_headerless(tmp_path / "bare")
        np.testing.assert_array_equal(read_image(tmp_path / "bare").pixels, expected)


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small_implicit.dcm", "MR_small_RLE.dcm"])
def test_a_meta_header_without_preamble_says_how_to_read(save, name):
    source = Path(get_testdata_file(name, download=False))
    path = save(source.read_bytes()[132:], "nameless")
    assert is_headerless(path)
    np.testing.assert_array_equal(read_image(path).pixels, read_image(source).pixels)


@pytest.mark.parametrize("explicit", [False, True])
def test_a_mark_without_a_meta_header_will_do(save, explicit):
    path = save(bytes(128) + b"DICM" + write(elements(), explicit))
    assert has_preamble(path)
    values = stored().astype(np.float64) * 2 - 24
    np.testing.assert_allclose(read_image(path).pixels[0], (values + 65560) / 131070, atol=1e-7)


def test_compressed_pixels_without_a_header_are_refused(save):
    head = write(elements(pixels=None), explicit=True)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    fragment = struct.pack("<HHI", 0xFFFE, 0xE000, 4) + b"\xff\xd8\xff\xd9"
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    pixels = struct.pack("<HH", *PIXELS) + b"OB\0\0\xff\xff\xff\xff" + item + fragment + end
    with pytest.raises(
        InvalidReadOption, match=r"x.dcm is compressed and has no meta header with its transfer syntax; re-export it"
    ):
        read_image(save(head + pixels))


@pytest.mark.parametrize("explicit", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.9, 0.99])
def test_a_truncated_data_set_is_unreadable(save, explicit, share):
    content = write(elements(), explicit)
    with pytest.raises(UnreadableFile, match=r"cannot read x.dcm: it "):
        read_image(save(content[: int(len(content) * share)]))


def test_absurd_sizes_stay_refused(save):
    huge = struct.pack("<H", 65535)
    with pytest.raises(
        UnreadableFile, match="its header declares 1 x 65535 x 65535 x 1 pixels, more than max_pixels=268435456"
    ):
        read_image(save(write(elements(rows=huge, columns=huge))))
    with pytest.raises(UnreadableFile, match="its header declares 1 x 0 x 7 x 1 pixels"):
        read_image(save(write(elements(rows=b"\0\0"))))
    claims = write(elements(pixels=None)) + struct.pack("<HHI", *PIXELS, 0xFFFFFFF0) + b"\0" * 60
    with pytest.raises(UnreadableFile, match=r"cannot read x.dcm: it "):
        read_image(save(claims))


def others():
    """Files of other kinds, and some that begin nearly as a data set does."""
    random = np.random.default_rng(0)
    png, npz = io.BytesIO(), io.BytesIO()
    Image.fromarray(stored().astype(np.uint8)).save(png, "png")
    np.savez(npz, x=stored())
    good = write(elements())
    yield from {
        "empty": b"",
        "text": b"patient,label\n1,ill\n" * 50,
        "zeros": bytes(5000),
        "png": png.getvalue(),
        "npz": npz.getvalue(),
        "program": Path(sys.executable).read_bytes()[:10000],
        "source": Path(__file__).read_bytes(),
        "the identifier in a text": b"SOP class 1.2.840.10008.5.1.4.1.1.2 and more\n" * 9,
        "noise after the first tag": b"\x08\x00\x05\x00" + random.bytes(4000),
        "no SOP class": write(elements(sop_class=None)),
        "another root": write(elements(sop_class=b"1.3.6.1.4.1.9590.100")),
        "no value": write(elements(sop_class=b"")),
        "another group first": write([((0x0004, 0x1500), b"CS", b"A"), *elements()]),
        "descending": write([((0x0008, 0x0018), b"UI", b"1.2"), *elements()]),
        "twice": write([elements()[1], elements()[1]])[26:],
        "an odd length": struct.pack("<HHI", 0x0008, 0x0005, 3) + b"abc" + good,
        "a length beyond the file": struct.pack("<HHI", 0x0008, 0x0005, 0xFFFFFFFF) + good,
        "moved by a byte": b"\0" + good,
        "big endian": struct.pack(">HH2sH", 0x0008, 0x0016, b"UI", 26) + CT + b"\0",
        **{f"noise {seed}": np.random.default_rng(seed).bytes(3000) for seed in range(20)},
    }.items()


@pytest.mark.parametrize(("what", "content"), others(), ids=[what for what, _ in others()])
def test_no_other_file_is_let_through(save, what, content):
    path = save(content, "IM0001")
    assert not is_headerless(path)
    assert not is_image(path)
    with pytest.raises(
        UnreadableFile, match=r"cannot read IM0001: its format is not supported; convert it to one of png, .*nii.gz"
    ):
        read_image(path)
    for reading in (read_image, lambda path: patient_of(path, b"", path.name)):
        with pytest.raises(UnreadableFile, match=r"x.dcm: it is not a DICOM file; re-export it"):
            reading(save(content))


def test_every_file_of_pydicom_is_marked_or_begins_as_it_should():
    """Of a hundred files two kinds are left out: without a SOP class, and big endian."""
    folder = Path(get_testdata_file("CT_small.dcm", download=False)).parent
    files = [path for path in sorted(folder.glob("*.dcm")) if not has_preamble(path)]
    known = {path.name for path in files if is_headerless(path)}
    assert {"rtstruct.dcm", "ExplVR_LitEndNoMeta.dcm"} <= known
    assert {path.name for path in files} - known <= {"no_meta.dcm", "ExplVR_BigEndNoMeta.dcm", "ExplVR_BigEnd.dcm"}
    with pytest.raises(UnreadableFile, match=r"rtstruct.dcm: it contains no pixels"):
        read_image(folder / "rtstruct.dcm")


def test_a_folder_of_nameless_bare_files_is_found_read_and_grouped(tmp_path, save):
    for n in range(8):
        content = write(elements(n, patient=f"P{n // 2}".encode()), explicit=n % 2 == 1)
        save(content, f"scans/{'ill' if n >= 4 else 'well'}/IM{n:04d}")
    save(b"hello", "scans/ill/README")
    data = FolderDataModule(str(tmp_path / "scans"), read=ReadOptions(window="bone"), groups="dicom", val_fraction=0.5)
    with pytest.warns(UserWarning, match="1 files below the class folders are in unsupported formats"):
        data.setup()
    assert data.spec.shape == (1, ROWS, COLUMNS)
    numbers = np.concatenate([data.groups[split] for split in ("train", "val")])
    assert np.bincount(numbers).tolist() == [2, 2, 2, 2]
    expected = [np.clip((stored(n).astype(np.float64) * 2 - 24 + 500) / 1800, 0, 1) for n in range(8)]
    images = np.concatenate([data.splits[split][0][:, 0] for split in ("train", "val")])
    assert all(any(np.allclose(image, one, atol=1e-6) for one in expected) for image in images)
    shutil.copy(tmp_path / "scans/ill/README", tmp_path / "scans/ill/x.dcm")
    with pytest.raises(
        ValueError, match=r"ill/x.dcm: it is not a DICOM file; .*or set on_error='skip' to leave such files"
    ):
        FolderDataModule(str(tmp_path / "scans"), read=ReadOptions(window="bone")).setup()
