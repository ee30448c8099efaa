"""NIfTI: where each voxel goes and what it becomes, on nibabel's own files and on made ones."""

from __future__ import annotations

import gzip
import itertools
import os
import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path

from lightning_distill.data.readers import InvalidReadOption, ReadOptions, UnreadableFile, read_image

AXES = ("axial", "coronal", "sagittal")


def read(name, **options):
    return read_image(os.path.join(data_path, name), ReadOptions(**options))


def stored_anatomical():
    """The bytes of anatomical.nii, whose first axis runs to the left: 352 bytes of header, then x fastest."""
    content = (Path(data_path) / "anatomical.nii").read_bytes()
    return np.frombuffer(content[352:], ">i2").reshape(25, 41, 33).astype(np.float64)  # z, y, x


@pytest.fixture
def write(tmp_path):
    def write(values, affine=None, name="x.nii.gz", **header):
        image = nib.Nifti1Image(values, np.eye(4) if affine is None else affine)
        if header:
            image.header.set_slope_inter(**header)
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("window", [None, (4000, 6000)])
def test_a_real_volume_is_cut_and_scaled(window):
    stored = stored_anatomical()
    low, high = (-32768, 32767) if window is None else (1000, 7000)
    unit = np.clip((stored - low) / (high - low), 0, 1)
    expected = {
        "axial": unit[12, ::-1, :],  # the right is first already; anterior up
        "coronal": unit[::-1, 40 - 20, :],
        "sagittal": unit[::-1, ::-1, 16],
    }
    for axis in AXES:
        picture = read("anatomical.nii", axis=axis, window=window)
        np.testing.assert_allclose(picture.pixels, expected[axis][None], atol=1e-6, err_msg=axis)
        assert picture.scale == ("16 bit, -32768 to 32767" if window is None else "window 1000 to 7000") + " as 0 to 1"
    every = read("anatomical.nii", frames="all", window=window).pixels
    np.testing.assert_allclose(every, unit[::-1, ::-1, :], atol=1e-6)
    np.testing.assert_array_equal(read("anatomical.nii", frames="first", window=window).pixels, every[:1])


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_however_a_volume_is_stored_its_pictures_are_the_same(write, order):
    random = np.random.default_rng(0)
    upright = random.integers(0, 256, (4, 5, 6), np.uint8)  # to the right, anterior, superior
    for signs in itertools.product((1, -1), repeat=3):
        flipped = upright[tuple(slice(None, None, sign) for sign in signs)]
        affine = np.zeros((4, 4))
        for place, axis in enumerate(order):
            affine[axis, place] = signs[axis]
        affine[3, 3] = 1
        path = write(np.ascontiguousarray(flipped.transpose(order)), affine)
        for axis, picture in {
            "axial": [[upright[3 - c, 4 - r, 5 - 3] for c in range(4)] for r in range(5)],
            "coronal": [[upright[3 - c, 4 - 2, 5 - r] for c in range(4)] for r in range(6)],
            "sagittal": [[upright[3 - 2, 4 - c, 5 - r] for c in range(5)] for r in range(6)],
        }.items():
            read = read_image(path, ReadOptions(axis=axis)).pixels
            assert read.dtype == np.uint8
            np.testing.assert_array_equal(read[0], picture, err_msg=f"{axis} {signs}")


def test_the_files_own_scaling_comes_first(write):
    values = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    path = write(values, name="x.nii", slope=2, inter=-1024)
    content = bytearray(path.read_bytes())
    content[352:] = values.astype("<i2").tobytes(order="F")  # as stored numbers, not as scaled ones
    path.write_bytes(content)
    picture = read_image(path, ReadOptions(window="lung", assume_hu=True, frames="all"))
    scaled = (values * 2.0 - 1024)[::-1, ::-1, ::-1].transpose(2, 1, 0)
    np.testing.assert_allclose(picture.pixels, np.clip((scaled + 1350) / 1500, 0, 1), atol=1e-6)
    assert picture.scale == "CT window lung, -1350 to 150 HU as 0 to 1"
    assert read_image(path).scale == "16 bit, -66560 to 64510 as 0 to 1"


def test_resampling_is_linear_and_in_millimetres():
    image = nib.load(os.path.join(data_path, "standard.nii.gz"))  # voxels of 1 x 3 x 2 mm
    values = np.asarray(image.dataobj, np.float64)
    for axis, (size, count) in enumerate([(1, 4), (3, 5), (2, 7)]):
        at = np.arange((count - 1) * size + 1) / size
        values = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, values)
    picture = read("standard.nii.gz", spacing=1, window=(128, 256), frames="all")
    expected = values[::-1, ::-1, ::-1].transpose(2, 1, 0) / 256
    assert picture.pixels.shape == (13, 13, 4)
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)


def test_what_lies_outside_a_turned_volume_is_black(write):
    turn = np.eye(4)
    turn[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    picture = read_image(write(np.full((8, 8, 3), 200, np.int16), turn), ReadOptions(window=(100, 200), spacing=1))
    assert picture.pixels[0, 0, 0] == 0
    assert picture.pixels[0, picture.pixels.shape[1] // 2, picture.pixels.shape[2] // 2] == 1


def test_several_windows_are_channels():
    picture = read("anatomical.nii", window=[(1000, 2000), (4000, 6000)])
    assert (picture.pixels.shape, picture.kind) == ((1, 41, 33, 2), "windows")
    np.testing.assert_array_equal(picture.pixels[..., 1], read("anatomical.nii", window=(4000, 6000)).pixels)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("functional.nii", {}, "functional.nii has 17 x 21 x 3 x 20 voxels, 20 volumes and not one"),
        ("reoriented_anat_moved.nii", {}, "stores floats, which have no fixed range; give window="),
        ("anatomical.nii", {"window": "lung"}, "does not declare its unit; set assume_hu=True"),
        (
            "anatomical.nii",
            {"window": "file"},
            "window='file' needs DICOM files, anatomical.nii is NIfTI; give window=",
        ),
    ],
)
def test_what_cannot_be_read_as_asked_is_refused(name, options, message):
    with pytest.raises(InvalidReadOption, match=message):
        read(name, **options)


def test_one_image_is_told_from_many_volumes(write):
    message = "has 3 x 4 voxels, one image and not a volume; store it with the shape 3 x 4 x 1, or as PNG"
    with pytest.raises(InvalidReadOption, match=message):
        read_image(write(np.zeros((3, 4), np.uint8)))
    assert read_image(write(np.zeros((3, 4, 1), np.uint8))).pixels.shape == (1, 4, 3)


def test_one_time_point_is_one_volume(write):
    values = np.zeros((3, 4, 5, 1), np.uint8)
    assert read_image(write(values), ReadOptions(frames="all")).pixels.shape == (5, 4, 3)


def test_nan_voxels_are_refused():
    with pytest.raises(UnreadableFile, match=r"resampled_anat_moved.nii: it has NaN or infinite voxels"):
        read("resampled_anat_moved.nii", window=(100, 200))


def test_colour_voxels_are_refused(write):
    path = write(np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")]))
    with pytest.raises(InvalidReadOption, match="not one number each"):
        read_image(path)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_truncated_and_absurd_files_are_unreadable(write, tmp_path, name):
    path = write(np.ones((20, 20, 20), np.int16), name=name)
    content = path.read_bytes()
    for share in (0, 0.3, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(UnreadableFile, match=f"cannot read {name}: it is truncated"):
            read_image(path)
    huge = bytearray(content if name == "x.nii" else gzip.decompress(content))
    huge[42:48] = np.array([30000] * 3, "<i2").tobytes()
    path.write_bytes(huge if name == "x.nii" else gzip.compress(huge))
    with pytest.raises(UnreadableFile, match="30000 x 30000 x 30000 pixels, more than max_pixels"):
        read_image(path)
    with pytest.raises(UnreadableFile, match="more than max_pixels=100000"):
        read_image(write(np.ones((20, 20, 20), np.int16)), ReadOptions(spacing=0.1, max_pixels=100000))


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_voxels_that_begin_absurdly_late_are_refused_before_anything_is_unpacked(tmp_path, name, kind, order):
    path = tmp_path / name
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.int16)
    nib.save(kind(np.ones((4, 4, 4), np.int16), np.eye(4), header), path)
    read_image(path)
    content = bytearray(gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes())
    place, code = (108, "f4") if kind is nib.Nifti1Image else (168, "i8")
    for begin in (1 << 30, -352, float("nan")) if code == "f4" else (1 << 30, -352):
        content[place : place + int(code[1])] = np.array([begin], order + code).tobytes()
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        with pytest.raises(UnreadableFile, match=f"cannot read {name}: its header places the voxels at byte"):
            read_image(path)


def test_what_follows_the_voxels_is_not_unpacked(write, tmp_path):
    content = gzip.decompress(write(np.ones((4, 4, 4), np.int16)).read_bytes())
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(content + bytes(1 << 26)))
    tracemalloc.start()
    try:
        assert read_image(tmp_path / "bomb.nii.gz").pixels.shape == (1, 4, 4)
        assert tracemalloc.get_traced_memory()[1] < 1 << 25
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("place", ["voxels", "checksum", "length", "end"])
def test_a_packed_volume_is_held_to_its_checksum(write, tmp_path, place):
    """Stored without compression, so that a byte that is spoilt on the way is a wrong voxel and no broken stream."""
    packed = bytearray(gzip.compress(gzip.decompress(write(np.ones((4, 4, 4), np.int16)).read_bytes()), 0))
    path = tmp_path / "spoilt.nii.gz"
    path.write_bytes(packed)
    assert read_image(path).pixels.shape == (1, 4, 4)
    if place == "end":
        del packed[-3:]
    else:
        packed[{"voxels": -40, "checksum": -8, "length": -4}[place]] ^= 1
    path.write_bytes(packed)
    with pytest.raises(UnreadableFile, match=r"cannot read spoilt.nii.gz: it is truncated, damaged"):
        read_image(path)


def test_without_nibabel_the_error_says_how_to_get_it(monkeypatch):
    def absent(package):
        raise ImportError(package)

    monkeypatch.setattr("lightning_distill.data.readers.optional_deps.import_module", absent)
    with pytest.raises(
        ImportError, match=r"reading NIfTI files needs nibabel: pip install 'lightning-distill\[dicom\]'"
    ):
        read("anatomical.nii")
