"""A folder of files: listed, labelled, decoded, cached, and refused with the way out."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import time
import tracemalloc
import warnings
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pydicom
import pytest
from jsonargparse import ArgumentParser
from PIL import Image
from pydicom.data import get_testdata_file

from lightning_distill import DataSpec, FolderDataModule, load_set
from lightning_distill.cli import main
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.folder import Columns
from lightning_distill.data.folder.decode import _VERSION, DecodeOptions
from lightning_distill.data.readers import ReadOptions
from lightning_distill.utils.lazy_arrays import FileArray

NAME = "Mustermann^Erika"


def grey(seed=0, height=6, width=7):
    return np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def root(tmp_path):
    """Class folders ``healthy`` and ``ill`` with ten pictures each; picture n of healthy is ``grey(n)``."""
    for place, name in enumerate(("healthy", "ill")):
        for n in range(10):
            save(tmp_path / "root" / name / f"{n}.png", grey(10 * place + n))
    return tmp_path / "root"


@pytest.fixture
def scans(tmp_path):
    """Class folders of CT slices, two of each patient, with names in every place of their headers."""

    def make(**changes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for n in range(8):
                ds = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
                ds.PixelData = (ds.pixel_array + n).astype("<i2").tobytes()
                ds.PatientName, ds.PatientID, ds.AccessionNumber = NAME, f"{NAME}-{n // 2}", NAME
                for keyword, value in changes.items():
                    setattr(ds, keyword, value)
                path = tmp_path / "scans" / ("ill" if n >= 4 else "healthy") / f"{NAME}{n}.dcm"
                path.parent.mkdir(parents=True, exist_ok=True)
                ds.save_as(path)
        return tmp_path / "scans"

    return make


def write_table(root, rows, name="labels.csv", columns=("path", "label"), delimiter=",", encoding="utf-8"):
    with (root / name).open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([columns, *rows])
    return name


def twenty(**other):
    return [(f"{name}/{n}.png", name, *(of(name, n) for of in other.values()))
            for name in ("healthy", "ill") for n in range(10)]  # fmt: skip


def test_class_folders_become_classes(root):
    data = FolderDataModule(str(root), val_fraction=0.2, real_per_class=3, license="CC0", name="mine")
    assert (data.spec.name, data.spec.class_names, data.spec.task) == ("mine", ("healthy", "ill"), "binary")
    assert (data.spec.shape, data.spec.storage_dtype, data.spec.intensity_scale) == (
        (1, 6, 7),
        "uint8",
        "8 bit, 0 to 255",
    )
    assert (data.spec.min_value, data.spec.max_value, data.spec.license) == (0.0, 255.0, "CC0")
    assert data.groups == {}
    whole = np.concatenate([data.splits["train"][0], data.splits["val"][0]])
    labels = np.concatenate([data.splits["train"][1], data.splits["val"][1]])
    expected = [grey(n) for n in range(20)]
    for image, label in zip(whole, labels, strict=True):
        (number,) = (n for n in range(20) if np.array_equal(expected[n], image[0]))
        assert label == number // 10
    assert np.bincount(data.splits["val"][1]).tolist() == [2, 2]
    x, y = data.train_dataloader().batch(0)
    assert x.shape == (6, 1, 6, 7)
    assert y.tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("called", ["val", "valid", "Validation"])
def test_folders_of_splits_are_known(root, tmp_path, called):
    for split in ("train", called, "test"):
        shutil.copytree(root, tmp_path / "three" / split)
    shutil.rmtree(tmp_path / "three" / "test" / "ill")
    data = FolderDataModule(str(tmp_path / "three"))
    data.setup()
    assert {split: len(labels) for split, (_, labels) in data.splits.items()} == {"train": 20, "val": 20, "test": 10}
    assert set(data.splits["test"][1]) == {0}


def test_files_may_lie_deeper_and_hidden_ones_are_passed_over(root):
    (root / "ill" / "a").mkdir()
    (root / "ill" / "3.png").rename(root / "ill" / "a" / "3.png")
    (root / "ill" / "._4.png").write_bytes(b"of a Mac")
    (root / ".DS_Store").write_bytes(b"of a Mac")
    (root / "__MACOSX").mkdir()
    data = FolderDataModule(str(root))
    data.setup()
    assert sum(len(labels) for _, labels in data.splits.values()) == 20


def test_files_that_are_no_images_are_counted(root):
    (root / "ill" / "notes.txt").write_text("hello")
    save(root / "loose.png", grey())
    with pytest.warns(UserWarning, match="left out") as record:
        FolderDataModule(str(root)).setup()
    messages = " ".join(str(warning.message) for warning in record)
    assert "1 files below the class folders are in unsupported formats or links to folders" in messages
    assert "1 images beside the class folders have no label" in messages


def test_links_are_read_counted_or_missed_but_never_passed_over(root):
    save(root.parent / "elsewhere" / "x.png", grey())
    for name, to in (("x.png", "../../elsewhere/x.png"), ("more", "../../elsewhere"), ("again", "."), ("loop", "loop")):
        (root / "ill" / name).symlink_to(to)
    data = FolderDataModule(str(root))
    with pytest.warns(UserWarning, match=r"3 files below the class folders .* or links to folders and are left out"):
        data.setup()
    assert sum(len(labels) for _, labels in data.splits.values()) == 21
    for name in ("away.png", "round.png"):
        (root / "ill" / name).symlink_to(name if name == "round.png" else "../../annex/0.png")
    with pytest.raises(
        ValueError, match=r"cannot read ill/away.png: there is no such file; .* set on_error='skip' to leave"
    ):
        FolderDataModule(str(root)).setup()
    for cache in (None, str(root.parent / "cache")):
        data = FolderDataModule(str(root), on_error="skip", cache=cache)
        with pytest.warns(UserWarning, match="2 of 23 files cannot be read"):
            data.setup()
        assert data.skipped == ["ill/away.png", "ill/round.png"]


@pytest.mark.parametrize("closed", ["ill", "ill/part", "."])
def test_a_folder_that_may_not_be_looked_into_is_named_and_no_empty_one(root, monkeypatch, closed):
    save(root / "ill" / "part" / "x.png", grey())
    scandir, listdir = os.scandir, os.listdir

    def unless(look):
        def looked(path="."):
            if os.path.abspath(path) == str((root / closed).resolve()):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return look(path)

        return looked

    monkeypatch.setattr(os, "scandir", unless(scandir))
    monkeypatch.setattr(os, "listdir", unless(listdir))
    name = "root" if closed == "." else closed
    with pytest.raises(
        PermissionError, match=f"cannot access {name}: Permission denied; change its permissions"
    ) as caught:
        FolderDataModule(str(root)).setup()
    assert str(root.parent) not in str(caught.value)


def arrange(root, what):
    if what == "empty":
        shutil.rmtree(root)
        root.mkdir()
    elif what == "flat":
        shutil.rmtree(root)
        save(root / "0.png", grey())
    elif what == "empty class":
        (root / "doubtful").mkdir()
    elif what == "no train":
        (root / "ill").rename(root / "test")
    elif what == "beside":
        (root / "ill").rename(root / "train")
    elif what == "two of one":
        (root / "ill").rename(root / "val")
        (root / "healthy").rename(root / "valid")
    elif what == "unknown class":
        for split in ("train", "val"):
            save(root.parent / "s" / split / "x" / "0.png", grey())
        save(root.parent / "s" / "train" / "y" / "0.png", grey())
        save(root.parent / "s" / "val" / "new" / "0.png", grey())
        shutil.rmtree(root)
        (root.parent / "s").rename(root)
    elif what == "gone":
        shutil.rmtree(root)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("empty", "root has no class folders; put the images into one folder per class, or give table"),
        ("flat", "root has no class folders"),
        ("empty class", "the class folder doubtful has no images; remove the folder or add images"),
        ("no train", "there is a folder 'test' but no folder train; add it"),
        ("beside", "there is a folder 'healthy' beside the split folders; move it out of root or into the splits"),
        ("two of one", "the folders val and valid are both val; keep one"),
        ("unknown class", "val has the class 'new', train has no images of it; correct the labels"),
        ("gone", "there is no folder root; set root to the folder of the images"),
    ],
)
def test_folders_that_do_not_fit_are_refused(root, what, message):
    arrange(root, what)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        FolderDataModule(str(root)).setup()


@pytest.mark.parametrize(("delimiter", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_a_table_labels_splits_and_groups(root, delimiter, encoding):
    rows = twenty(
        patient=lambda name, n: f"{NAME} {name} {n // 2}", split=lambda _, n: ["train", "valid", "test"][n % 3]
    )
    columns = ("path", "label", "patient", "split")
    table = write_table(root, rows, columns=columns, delimiter=delimiter, encoding=encoding)
    with pytest.raises(ValueError, match="train and val share 4 groups"):
        FolderDataModule(str(root), table=table).setup()
    data = FolderDataModule(str(root), table=table, on_overlap="warn")
    with pytest.warns(UserWarning, match="share 4 groups"):
        data.setup()
    for remainder, split in enumerate(("train", "val", "test")):
        kept = [n for n in range(10) if n % 3 == remainder]
        images, labels = data.splits[split]
        np.testing.assert_array_equal(images[:, 0], [grey(n) for n in [*kept, *(10 + n for n in kept)]])
        assert labels.tolist() == [0] * len(kept) + [1] * len(kept)
        assert data.groups[split].tolist() == [n // 2 for n in kept] + [5 + n // 2 for n in kept]
        assert data.groups[split].dtype == np.int64


def test_spaces_before_quotes_and_empty_cells_behind_a_row_are_no_part_of_it(root):
    lines = [f'"{path}", "{label}, perhaps",, ' for path, label in twenty()]
    (root / "labels.csv").write_text("\n".join(['"path", "label"', *lines, ""]))
    assert FolderDataModule(str(root), table="labels.csv").spec.class_names == ("healthy, perhaps", "ill, perhaps")


def test_columns_and_classes_may_be_called_otherwise(root):
    table = write_table(root, twenty(), columns=("Image Index", "Finding"))
    data = FolderDataModule(str(root), table=str(root / table), columns=Columns(path="Image Index", label="Finding"),
                            class_names=["ill", "healthy"])  # fmt: skip
    assert data.spec.class_names == ("ill", "healthy")
    assert np.array_equal(data.splits["train"][0][0, 0], grey(0)) == (data.splits["train"][1][0] == 1)
    with pytest.raises(
        ValueError, match="class_names are 'ill', 'well' but the files have 'healthy', 'ill'; list each class once"
    ):
        FolderDataModule(str(root), class_names=["ill", "well"]).setup()


def test_numbers_are_classes_in_the_order_of_size(root):
    rows = [(path, str(n % 11)) for n, (path, _) in enumerate(twenty())]
    data = FolderDataModule(str(root), table=write_table(root, rows), val_fraction=0.5)
    assert data.spec.class_names == tuple(map(str, range(11)))


@pytest.mark.parametrize("form", ["{}.0", "-{}", "{}e0"])
def test_numbers_of_any_form_are_in_the_order_of_size(root, form):
    rows = [(path, form.format(n % 11) if n % 11 else "nan") for n, (path, _) in enumerate(twenty())]
    names = FolderDataModule(str(root), table=write_table(root, rows), val_fraction=0.5).spec.class_names
    sizes = [float(name) for name in names[:-1]]
    assert (sizes, names[-1]) == (sorted(sizes), "nan")


@pytest.mark.parametrize("cells", [("Mass|Effusion", "No Finding", "Mass", ""), ("Mass | Effusion", "no finding")])
def test_several_labels_in_a_cell_are_multi_label(root, cells):
    rows = [(path, cells[n % len(cells)]) for n, (path, _) in enumerate(twenty())]
    data = FolderDataModule(str(root), table=write_table(root, rows))
    assert (data.spec.task, data.spec.class_names) == ("multi-label", ("Effusion", "Mass"))
    targets = np.concatenate([data.splits["train"][1], data.splits["val"][1]])
    sums = [sum("Effusion" in cells[n % len(cells)] for n in range(20)),
            sum("Mass" in cells[n % len(cells)] for n in range(20))]  # fmt: skip
    assert targets.sum(0).tolist() == sums


def test_no_finding_is_a_class_where_labels_are_single(root):
    rows = [(path, "No Finding" if label == "healthy" else "Mass") for path, label in twenty()]
    table = write_table(root, rows)
    assert FolderDataModule(str(root), table=table).spec.class_names == ("Mass", "No Finding")
    several = FolderDataModule(str(root), table=write_table(root, [*rows[1:], (rows[0][0], "Cyst")]), multi_label=True)
    assert (several.spec.class_names, several.spec.task) == (("Cyst", "Mass"), "multi-label")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("../x.png", "ill"), "labels.csv, line 22 has a path that is absolute or outside of root"),
        (("ill/../../x.png", "ill"), "is absolute or outside of root"),
        (("/etc/passwd", "ill"), "line 22 has a path that is absolute"),
        (("C:\\x.png", "ill"), "line 22 has a path that is absolute"),
        (("..\\x.png", "ill"), "is absolute or outside of root"),
        (("", "ill"), "line 22 has no path; fill it in or remove the row"),
        (("ill/0.png", "ill"), "labels.csv lists 'ill/0.png' more than once; keep one row per file"),
        (("./ill/0.png", "ill"), "labels.csv lists 'ill/0.png' more than once"),
        (("ill/gone.png", "ill"), "labels.csv lists 'ill/gone.png', not found below root"),
        (("x" * 300 + ".png", "ill"), "not found below root"),
        (("ill/new.png", ""), "line 22 has no label; fill it in, remove the row, or set multi_label=True"),
        (("ill/new.png",), "line 22 has too few cells; correct the row"),
        (("ill/new.png", "ill", " left"), "line 22 has more cells than columns; quote cells that contain"),
    ],
)
def test_rows_that_do_not_fit_are_refused(root, row, message):
    save(root / "ill" / "new.png", grey())
    save(root.parent / "x.png", grey())
    table = write_table(root, [*twenty(), row])
    with pytest.raises(ValueError, match=message):
        FolderDataModule(str(root), table=table).setup()


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("patient", "", "line 2 has no patient; fill in all rows, or remove the column"),
        ("split", "holdout", "line 2 has the split 'holdout'; use train, val, test"),
    ],
)
def test_patients_and_splits_that_do_not_fit_are_refused(root, column, cell, message):
    rows = twenty(other=lambda name, n: cell if (name, n) == ("healthy", 0) else "train")
    with pytest.raises(ValueError, match=message):
        FolderDataModule(str(root), table=write_table(root, rows, columns=("path", "label", column))).setup()


def test_tables_that_are_none_are_refused(root):
    with pytest.raises(FileNotFoundError, match=r"there is no table gone.csv; correct table, or remove it"):
        FolderDataModule(str(root), table="gone.csv").setup()
    (root / "empty.csv").write_text("path,label\n")
    with pytest.raises(ValueError, match=r"empty.csv has no rows below its header"):
        FolderDataModule(str(root), table="empty.csv").setup()
    write_table(root, [(*row, NAME) for row in twenty()], "headless.csv", ("ill/0.png", "ill", NAME))
    with pytest.raises(
        ValueError, match=r"headless.csv has no column 'path', 'label' in its first line; give its name"
    ):
        FolderDataModule(str(root), table="headless.csv").setup()
    write_table(root, [(*row, "doubtful") for row in twenty()], "two.csv", ("path", "label", "label "))
    with pytest.raises(ValueError, match=r"two.csv has more than one column 'label'; rename the others"):
        FolderDataModule(str(root), table="two.csv").setup()
    (root / "blank.csv").write_text("")
    with pytest.raises(ValueError, match=r"blank.csv has no column 'path', 'label'"):
        FolderDataModule(str(root), table="blank.csv").setup()
    write_table(root, twenty(), "other.csv", ("number", "label"))
    with pytest.raises(
        ValueError, match=r"other.csv has no column 'path', only number, label; give its name as columns.path"
    ):
        FolderDataModule(str(root), table="other.csv").setup()
    write_table(root, [("ill/Müller.png", "ill")], "old.csv", encoding="latin-1")
    with pytest.raises(ValueError, match=r"old.csv is not UTF-8; save it as CSV UTF-8"):
        FolderDataModule(str(root), table="old.csv").setup()
    (root / "broken.csv").write_text('path,label\n"ill/0.png,ill\n')
    with pytest.raises(ValueError, match=r"broken.csv is not a CSV table"):
        FolderDataModule(str(root), table="broken.csv").setup()


def test_images_without_a_row_are_counted(root):
    table = write_table(root, twenty()[:-3])
    with pytest.warns(UserWarning, match=r"3 images below root have no row in labels.csv and are left out"):
        FolderDataModule(str(root), table=table).setup()


def test_mixed_sizes_are_refused_and_resized_on_demand(root):
    save(root / "ill" / "5.png", grey(5, 12, 14))
    with pytest.raises(ValueError, match=r"ill/5.png and healthy/0.png have different sizes, 12 x 14 and 6 x 7 pixels "
                       r"\(H x W\); set size, e.g. size=64"):  # fmt: skip
        FolderDataModule(str(root)).setup()
    data = FolderDataModule(str(root), size=4, val_fraction=0.5)
    assert data.spec.shape == (1, 4, 4)


def triangle(line, size):
    """Antialiased bilinear resizing of a line: a triangle as wide as the step, over pixel centres, sum one."""
    step = len(line) / size
    support = max(step, 1.0)
    at = (np.arange(size) + 0.5) * step
    weights = np.maximum(0, 1 - np.abs(np.arange(len(line)) + 0.5 - at[:, None]) / support)
    return (weights / weights.sum(1, keepdims=True)) @ line


@pytest.mark.parametrize("fit", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("size", [3, 9])
def test_resizing_is_antialiased_on_floats(tmp_path, fit, size):
    pixels = grey(3, 8, 12)
    for name in "ab":
        for n in range(2):
            save(tmp_path / "root" / name / f"{n}.png", pixels)
    data = FolderDataModule(str(tmp_path / "root"), size=size, fit=fit, val_fraction=0.5)
    square = {"stretch": pixels, "crop": pixels[:, 2:10], "pad": np.pad(pixels, ((2, 2), (0, 0)))}[fit].astype(float)
    expected = np.apply_along_axis(triangle, 1, np.apply_along_axis(triangle, 0, square, size), size)
    images, _ = data.train_arrays()
    assert images.dtype == np.uint8
    np.testing.assert_allclose(images[0, 0], expected, atol=0.51)


def test_grey_and_colour_do_not_mix_unless_converted(root):
    colours = np.stack([grey(1), grey(2), grey(3)], -1)
    save(root / "ill" / "5.png", colours)
    with pytest.raises(ValueError, match=r"ill/5.png and healthy/0.png are colour and grey; set color='grey'"):
        FolderDataModule(str(root)).setup()
    rgb = FolderDataModule(str(root), color="rgb", val_fraction=0.5)
    assert rgb.spec.shape == (3, 6, 7)
    plain = FolderDataModule(str(root), color="grey", val_fraction=0.5)
    assert plain.spec.shape == (1, 6, 7)
    luma = np.rint(colours @ [0.299, 0.587, 0.114]).astype(np.uint8)
    images = np.concatenate([plain.splits["train"][0], plain.splits["val"][0]])
    assert any(np.array_equal(image[0], luma) for image in images)


def test_sixteen_bits_are_floats_on_their_fixed_range(tmp_path):
    for name in "ab":
        for n in range(3):
            save(tmp_path / "root" / name / f"{n}.png", (grey(n).astype(np.uint16) * 100))
    data = FolderDataModule(str(tmp_path / "root"), val_fraction=0.34)
    assert (data.spec.min_value, data.spec.max_value, data.spec.storage_dtype) == (0.0, 1.0, "float16")
    assert data.spec.intensity_scale == "16 bit, 0 to 65535 as 0 to 1"
    images, _ = data.train_arrays()
    assert images.dtype == np.float32
    assert images.max() <= 25500 / 65535
    save(tmp_path / "root" / "b" / "7.png", grey())
    with pytest.raises(ValueError, match=r"b/7.png and a/0.png have different scales, '8 bit, 0 to 255' and '16 bit"):
        FolderDataModule(str(tmp_path / "root")).setup()


def test_damaged_files_are_named_or_left_out_and_counted(root):
    content = (root / "ill" / "4.png").read_bytes()
    (root / "ill" / "4.png").write_bytes(content[:40])
    (root / "healthy" / "2.png").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"cannot read healthy/2.png: .*, or set on_error='skip' to leave such files out"
    ):
        FolderDataModule(str(root)).setup()
    data = FolderDataModule(str(root), on_error="skip")
    with pytest.warns(UserWarning, match="2 of 20 files cannot be read and are left out") as record:
        data.setup()
    (message,) = (str(warning.message) for warning in record if "cannot be read" in str(warning.message))
    assert "png" not in message  # a file may be named for its patient, and warnings go into logs
    assert data.skipped == ["healthy/2.png", "ill/4.png"]
    assert np.bincount(np.concatenate([labels for _, labels in data.splits.values()])).tolist() == [9, 9]
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of the 20 files can be read; set on_error='error'"):
        FolderDataModule(str(root), on_error="skip").setup()


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_floats_that_are_no_numbers_are_left_out_and_named(scans, wrong):
    folder = scans()
    for path in folder.rglob("*.dcm"):
        ds = pydicom.dcmread(path)
        floats = ds.pixel_array.astype("<f4")
        floats[3, 4] = wrong if path.name.endswith("5.dcm") else 7
        for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
            del ds[keyword]
        ds.FloatPixelData, ds.BitsAllocated = floats.tobytes(), 32
        ds.save_as(path)
    read = ReadOptions(window=(0, 4000))
    with pytest.raises(ValueError, match=r"ill/.*5.dcm: it has NaN or infinite pixels; .* set on_error='skip'"):
        FolderDataModule(folder, read=read).setup()
    data = FolderDataModule(folder, read=read, on_error="skip", val_fraction=0.5)
    with pytest.warns(UserWarning, match="1 of 8 files cannot be read and are left out"):
        data.setup()
    assert data.skipped == [f"ill/{NAME}5.dcm"]


def test_a_wrong_setting_is_never_skipped(root):
    with pytest.raises(ValueError, match="is a PNG, JPEG or TIFF file and window= needs DICOM"):
        FolderDataModule(str(root), on_error="skip", read=ReadOptions(window="lung")).setup()


def test_an_absurd_size_is_a_damaged_file(root):
    with pytest.raises(ValueError, match=r"healthy/0.png: .* more than max_pixels=5; raise max_pixels"):
        FolderDataModule(str(root), read=ReadOptions(max_pixels=5)).setup()


def count_reads(monkeypatch):
    from lightning_distill.data.folder import decode as decoding

    seen = []

    def counting(path, options, name, mask, read=decoding.read_image):
        seen.append(name)
        return read(path, options, name, mask)

    monkeypatch.setattr(decoding, "read_image", counting)
    return seen


def images_of(data):
    data.setup()
    return {split: np.asarray(images[: len(images)]) for split, (images, _) in data.splits.items()}


def test_a_cache_is_written_once_and_mapped(root, tmp_path, monkeypatch):
    direct = images_of(FolderDataModule(str(root)))
    seen, cache = count_reads(monkeypatch), str(tmp_path / "cache")
    first = FolderDataModule(str(root), cache=cache)
    first.prepare_data()
    assert len(seen) == 20
    for data in (first, FolderDataModule(str(root), cache=cache)):
        for split, images in images_of(data).items():
            np.testing.assert_array_equal(images, direct[split])
        assert isinstance(data.splits["train"][0].array, FileArray)
    assert len(seen) == 20
    array, note = sorted((tmp_path / "cache").iterdir(), key=lambda path: path.suffix, reverse=True)
    assert (array.suffix, note.suffix) == (".npy", ".json")
    assert np.load(array).shape == (20, 1, 6, 7)
    assert "healthy" not in note.read_text()
    assert json.loads(note.read_text())["scale"] == "8 bit, 0 to 255"


@pytest.mark.parametrize("what", ["touch", "size", "file", "fit"])
def test_a_cache_of_other_files_or_options_is_not_taken(root, tmp_path, monkeypatch, what):
    cache = str(tmp_path / "cache")
    FolderDataModule(str(root), cache=cache).setup()
    seen, options = count_reads(monkeypatch), {}
    if what == "touch":
        save(root / "ill" / "9.png", grey(99))
    elif what == "file":
        save(root / "ill" / "10.png", grey(99))
    else:
        options = {"size": 4} if what == "size" else {"fit": "pad"}
    data = FolderDataModule(str(root), cache=cache, **options)
    data.setup()
    assert len(seen) in (20, 21)
    if what in ("touch", "file"):
        assert any(np.array_equal(image[0], grey(99)) for images in images_of(data).values() for image in images)


def test_what_was_left_out_is_said_of_a_cache_too(root, tmp_path):
    (root / "ill" / "4.png").write_bytes(b"")
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 20 files cannot be read and are left out"):
            FolderDataModule(str(root), cache=str(tmp_path / "cache"), on_error="skip").setup()


def test_a_cache_that_was_cut_short_leaves_nothing_and_is_written_again(root, tmp_path, monkeypatch):
    from lightning_distill.data.folder import decode as decoding

    read, seen = decoding.read_image, []

    def full(path, options, name, mask):
        if len(seen) == 7:
            raise OSError(28, "No space left on device")
        seen.append(name)
        return read(path, options, name, mask)

    monkeypatch.setattr(decoding, "read_image", full)
    cache = tmp_path / "cache"
    with pytest.raises(OSError, match="No space left"):
        FolderDataModule(str(root), cache=str(cache)).setup()
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(decoding, "read_image", read)
    FolderDataModule(str(root), cache=str(cache)).setup()
    (note,) = cache.glob("*.json")
    whole = json.loads(note.read_text())
    for damage in ("{", json.dumps({"key": "other"}), "[]", json.dumps({"key": whole["key"]})):
        note.write_text(damage)
        data = FolderDataModule(str(root), cache=str(cache))
        assert data.spec.shape == (1, 6, 7)
        assert json.loads(note.read_text()) == whole


@pytest.mark.parametrize("left", [0, 50, -1, None])
def test_an_array_that_was_cut_short_is_written_again(root, tmp_path, left):
    cache = tmp_path / "cache"
    FolderDataModule(str(root), cache=str(cache)).setup()
    (array,) = cache.glob("*.npy")
    whole = array.read_bytes()
    if left is None:  # another array, which is as long as it says
        np.save(array, np.zeros((3, 1, 6, 7), np.uint8))
    else:
        array.write_bytes(whole[:left])
    FolderDataModule(str(root), cache=str(cache)).setup()
    assert array.read_bytes() == whole


def test_what_a_killed_run_has_left_is_removed_and_what_another_writes_is_not(root, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    for name, hours in ((".images-killed", 25), (".images-alive", 23)):
        (cache / name).write_bytes(b"images")
        os.utime(cache / name, (time.time() - 3600 * hours,) * 2)
    FolderDataModule(str(root), cache=str(cache)).setup()
    assert sorted(path.suffix or path.name for path in cache.iterdir()) == [".images-alive", ".json", ".npy"]


def test_a_cache_that_cannot_be_written_says_what_to_do_and_one_that_is_full_is_read(root, tmp_path, monkeypatch):
    from lightning_distill.data.folder import decode as decoding

    def readonly(folder):
        raise PermissionError(errno.EACCES, f"cannot write to {folder}: Permission denied; choose another folder")

    cache = str(tmp_path / "cache")
    FolderDataModule(str(root), cache=cache).setup()
    monkeypatch.setattr(decoding, "check_writable", readonly)
    FolderDataModule(str(root), cache=cache).setup()
    with pytest.raises(PermissionError, match=r"cannot write to .*; choose another folder"):
        FolderDataModule(str(root), size=4, cache=cache).setup()
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError, match=r"cannot write to .*file: File exists; choose another folder"):
        FolderDataModule(str(root), cache=str(tmp_path / "file")).setup()


def test_a_cache_below_the_root_is_refused(root):
    with pytest.raises(ValueError, match="cache is inside root and would be read as a class"):
        FolderDataModule(str(root), cache=str(root / "cache"))


def test_memory_stays_small_with_a_cache(tmp_path):
    for name in "ab":
        for n in range(20):
            save(tmp_path / "root" / name / f"{n}.png", np.full((1000, 1000), n, np.uint8))
    tracemalloc.start()
    try:
        FolderDataModule(str(tmp_path / "root"), cache=str(tmp_path / "cache")).prepare_data()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 10**6 <= peak < 8 * 10**6  # one picture and its copies; the array has 40 MB


@pytest.mark.parametrize(("terminal", "few", "shown"), [(True, 5, True), (True, 500, False), (False, 5, False)])
def test_many_files_show_a_progress_bar_on_a_terminal(root, monkeypatch, terminal, few, shown):
    from lightning_distill.data.folder import decode as decoding

    seen = []

    def watch(paths, *said, disable, **_):
        seen.append(disable)
        assert said == ("reading images",)
        return paths

    monkeypatch.setattr(decoding, "track", watch)
    monkeypatch.setattr(decoding, "_PROGRESS_BAR_MIN", few)
    monkeypatch.setattr("rich.console.Console.is_terminal", terminal)
    FolderDataModule(str(root)).setup()
    assert seen == [not shown]


def test_scans_are_windowed_grouped_and_described(scans, tmp_path):
    for cache in (None, str(tmp_path / "cache"), str(tmp_path / "cache")):
        data = FolderDataModule(
            str(scans()), groups="dicom", val_fraction=0.5, cache=cache, read=ReadOptions(window="lung")
        )
        numbers = data._decode(data._entries()).patients
        assert numbers.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert data.spec.intensity_scale == "CT window lung, -1350 to 150 HU as 0 to 1"
        assert (data.spec.min_value, data.spec.max_value) == (0.0, 1.0)
        assert data.spec.shape == (1, 128, 128)
        assert data.spec.augmentation == "dsa_noflip"
    stored = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False)).pixel_array.astype(float)
    expected = np.clip((stored - 1024 + 1350) / 1500, 0, 1)
    images = np.concatenate([np.asarray(data.splits[split][0][:]) for split in ("train", "val")])
    assert any(np.allclose(image[0], expected, atol=1e-6) for image in images)


def test_several_windows_are_channels(scans):
    data = FolderDataModule(str(scans()), size=16, val_fraction=0.5, read=ReadOptions(window=["lung", "bone"]))
    assert data.spec.shape == (2, 16, 16)
    assert data.spec.augmentation == "dsa_grey_noflip"  # saturation would mix the windows
    with pytest.raises(ValueError, match="color='grey' cannot be combined with several windows"):
        FolderDataModule(str(scans()), color="grey", read=ReadOptions(window=["lung", "bone"])).setup()


def test_a_range_that_is_hardly_used_is_said(scans):
    with pytest.warns(UserWarning, match=r"use little of their fixed range \(16 bit, -33792 to 31743 as 0 to 1\)"):
        FolderDataModule(str(scans()), val_fraction=0.5).setup()


def test_twelve_bits_in_sixteen_are_told_a_way_out_that_there_is(tmp_path, recwarn):
    for factor, warned in ((1, True), (16, False)):
        for n in range(8):
            save(tmp_path / str(factor) / "ab"[n % 2] / f"{n}.png", grey(n).astype(np.uint16) * 16 * factor)
        recwarn.clear()
        FolderDataModule(str(tmp_path / str(factor)), val_fraction=0.25).setup()
        advised = any("so that they use all bits (12 bits: times 16)" in str(one.message) for one in recwarn)
        assert advised == warned


def test_photometric_interpretations_do_not_mix_unless_accepted(scans):
    folder = scans()
    path = next((folder / "ill").iterdir())
    ds = pydicom.dcmread(path)
    ds.PhotometricInterpretation = "MONOCHROME1"
    ds.save_as(path)
    for color in ("keep", "rgb"):
        with pytest.raises(ValueError, match=r"mix photometric interpretations.*mixed_photometric=True accepts"):
            FolderDataModule(str(folder), color=color, read=ReadOptions(window="lung")).setup()
    FolderDataModule(str(folder), mixed_photometric=True, val_fraction=0.5, read=ReadOptions(window="lung")).setup()


@pytest.mark.parametrize("window", ["lung", (-600, 1500)])
def test_a_file_without_rescale_tags_does_not_pass_beside_others(scans, window):
    folder = scans()
    path = max((folder / "ill").iterdir())
    ds = pydicom.dcmread(path)
    del ds.RescaleSlope, ds.RescaleIntercept
    ds.save_as(path)
    for on_error in ("error", "skip"):  # a wrong setting, perhaps: never skipped
        with pytest.raises(ValueError, match=r"ill/.*7.dcm (has no rescale slope|does not declare HU).*assume_hu=True"):
            FolderDataModule(str(folder), on_error=on_error, read=ReadOptions(window=window)).setup()
    FolderDataModule(str(folder), val_fraction=0.5, read=ReadOptions(window=window, assume_hu=True)).setup()
    for path in folder.rglob("*.dcm"):  # none has any: numbers are as they are stored
        ds = pydicom.dcmread(path)
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            ds.pop(keyword, None)
        ds.save_as(path)
    FolderDataModule(str(folder), val_fraction=0.5, read=ReadOptions(window=(400, 1500))).setup()


@pytest.mark.parametrize("cut", ["x.nii", "x.nii.gz", "x.dcm"])
def test_truncated_scans_are_named_or_left_out_and_counted(scans, tmp_path, cut):
    folder = scans()
    if cut != "x.dcm":
        shutil.rmtree(folder)
        for place, name in enumerate(("healthy", "ill")):
            for n in range(4):
                volume = np.random.default_rng(4 * place + n).integers(0, 255, (6, 6, 6)).astype(np.int16)
                (folder / name).mkdir(parents=True, exist_ok=True)
                nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / name / f"{n}-{cut}")
    path = max((folder / "ill").iterdir())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    options = {"read": ReadOptions(window=(100, 300)), "val_fraction": 0.5}
    with pytest.raises(ValueError, match=rf"cannot read ill/{re.escape(path.name)}: .*set on_error='skip' to leave"):
        FolderDataModule(str(folder), **options).setup()
    data = FolderDataModule(str(folder), on_error="skip", **options)
    with pytest.warns(UserWarning, match="1 of 8 files cannot be read and are left out"):
        data.setup()
    assert data.skipped == [f"ill/{path.name}"]
    assert sum(len(labels) for _, labels in data.splits.values()) == 7


def test_a_table_with_a_class_in_val_that_train_lacks_is_refused(root):
    rows = twenty(split=lambda name, n: "val" if name == "ill" else "train")
    table = write_table(root, rows, columns=("path", "label", "split"))
    with pytest.raises(ValueError, match="val has the class 'ill', train has no images of it; correct the labels"):
        FolderDataModule(str(root), table=table).setup()


def test_a_name_that_is_not_utf8_is_one_file_like_others(root):
    """A table in UTF-8 cannot name it; class folders read it, and messages about it can be printed."""
    name = os.fsdecode(b"M\xfcller.png")
    try:
        save(root / "ill" / "0.png", grey(10)).rename(root / "ill" / name)
    except OSError:
        pytest.skip("this file system takes names in UTF-8 only")
    data = FolderDataModule(str(root))
    data.setup()
    assert sum(len(labels) for _, labels in data.splits.values()) == 20
    (root / "ill" / name).write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read ill/M") as error:
        FolderDataModule(str(root)).setup()
    str(error.value).encode()
    assert FolderDataModule(str(root), on_error="skip").spec.num_classes == 2


def test_slopes_that_differ_need_one_window(scans):
    folder = scans()
    path = next((folder / "ill").iterdir())
    ds = pydicom.dcmread(path)
    ds.RescaleSlope = 2
    ds.save_as(path)
    with pytest.raises(ValueError, match=r"different scales, .*; give one window=\(center, width\)"):
        FolderDataModule(str(folder)).setup()
    FolderDataModule(str(folder), val_fraction=0.5, read=ReadOptions(window="bone")).setup()


def test_frames_of_one_file_belong_together(tmp_path):
    for name in "ab":
        for n in range(2):
            (tmp_path / "root" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(get_testdata_file("rtdose.dcm", download=False), tmp_path / "root" / name / f"{n}.dcm")
    data = FolderDataModule(str(tmp_path / "root"), read=ReadOptions(frames="all", window=(1000000, 500000)))
    data.load_raw()
    assert data.groups["train"].tolist() == [n for n in range(4) for _ in range(15)]


@pytest.mark.parametrize(
    ("options", "preset"),
    [
        ({}, "dsa_noflip"),
        ({"modality": "histology"}, "dsa"),
        ({"modality": "chest_xray"}, "dsa_noflip"),
        ({"modality": "ct"}, "dsa_grey_noflip"),
        ({"augmentation": "crop_scale_rotate"}, "crop_scale_rotate"),
    ],
)
def test_a_modality_chooses_the_augmentation(root, options, preset):
    data = FolderDataModule(str(root), **options)
    assert data.spec.augmentation == preset
    assert data.reproducible_args == {key: value for key, value in options.items() if key == "modality"}


def test_the_card_says_which_augmentation_is_valid(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["coreset", "--ipc=1", "--data=FolderDataModule", f"--data.root={root}", "--data.modality=oct", "--out=c"])
    card = json.loads((tmp_path / "c" / "card.json").read_text())
    assert card["data"]["augmentation"] == "dsa"
    assert card["augmentation"] == (
        "dsa: brightness and contrast; shift by an eighth; cutout of half a side; mirror left-right; scale to 1.2; "
        "turn to 15 degrees"
    )


def test_groups_need_an_identifier(scans):
    with pytest.raises(ValueError, match=r"has no PatientID; give a table with a patient column, or remove groups"):
        FolderDataModule(str(scans(PatientID="")), groups="dicom", read=ReadOptions(window="lung")).setup()


def test_nothing_of_files_and_headers_reaches_card_set_log_or_cache(scans, tmp_path, capsys, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scans(StudyInstanceUID=NAME)
    caplog.clear()
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        main(["coreset", "--ipc=1", "--data=FolderDataModule", "--data.root=scans", "--data.read.window=[lung,bone]",
              "--data.size=16", "--data.groups=dicom", "--data.cache=cache", "--data.val_fraction=0.5",
              "--out=c"])  # fmt: skip
    printed = "".join(capsys.readouterr()) + caplog.text + str([str(warning.message) for warning in record])
    written = b"".join(
        path.read_bytes() for folder in ("c", "cache") for path in (tmp_path / folder).rglob("*") if path.is_file()
    )
    assert "Mustermann" not in printed
    assert b"Mustermann" not in written
    assert b"scans" not in written
    card = json.loads((tmp_path / "c" / "card.json").read_text())
    lung, bone = "lung, -1350 to 150 HU", "bone, -500 to 1300 HU"
    assert card["data"]["scale"] == f"windows {lung}; {bone}; each a channel, as 0 to 1"
    assert (card["data"]["low"], card["data"]["high"]) == (0.0, 1.0)
    assert load_set(tmp_path / "c")[0][0].shape == (2, 16, 16)


def test_what_loggers_are_told_names_no_folder(root):
    data = FolderDataModule(str(root))
    data.setup()
    assert dict(data.hparams) == {"dataset": "folder", "source": "user files", "real_per_class": 256}
    assert data.reproducible_args == {}
    scans = FolderDataModule(
        str(root), size=8, groups="dicom", read=ReadOptions(window=("lung", (40, 80)), frames="all", max_pixels=9)
    )
    assert scans.reproducible_args == {
        "size": 8,
        "read.window": ["lung", [40, 80]],
        "read.frames": "all",
        "read.max_pixels": 9,
        "groups": "dicom",
    }


def test_old_cards_are_read_as_having_no_scale(root):
    spec = FolderDataModule(str(root)).spec
    state = spec.to_dict()
    assert DataSpec.from_dict(state) == spec
    del state["scale"]
    assert DataSpec.from_dict(state).intensity_scale == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fit": "squeeze"}, "unknown fit='squeeze'; use one of stretch, crop, pad"),
        ({"color": "blue"}, "unknown color='blue'; use one of keep, grey, rgb"),
        ({"on_error": "ignore"}, "unknown on_error='ignore'; use one of error, skip"),
        ({"groups": "patient"}, "unknown groups='patient'; use dicom, or a patient column in the table"),
        ({"size": 0}, "size=0; it must be at least 1"),
        ({"size": (8, 16)}, r"size=\(8, 16\): images are square here; give one number"),
        ({"modality": "chest-xray"}, r"unknown modality='chest-xray' \(did you mean 'chest_xray'"),
        ({"modality": "ct", "augmentation": "dsa"}, "modality='ct' and augmentation='dsa' conflict; give one of them"),
        ({"multi_label": True}, "multi_label=True needs a table"),
        ({"real_per_class": 0}, "real_per_class=0"),
    ],
)
def test_options_that_are_none_are_refused_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        FolderDataModule("nowhere", **options)


def test_making_the_module_reads_nothing(tmp_path):
    FolderDataModule(str(tmp_path / "absent"), cache=str(tmp_path / "cache"))
    assert not list(tmp_path.iterdir())


def parse(*options):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--data", type=ArrayDataModule)
    config = parser.parse_args(["--data=FolderDataModule", *options])
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return instantiate(config).data


@pytest.mark.parametrize(
    "read",
    [
        ReadOptions(),
        ReadOptions(window="lung", assume_hu=True),
        ReadOptions(window=("lung", (40, 80)), frames="all", max_pixels=9),
        ReadOptions(window=(-600, 1500.5), axis="coronal", spacing=1.5),
        ReadOptions(frames="mask", mask_label=2),
    ],
)
def test_reproducible_arguments_are_a_command_line_that_gives_the_same_options(root, read):
    data = FolderDataModule(root, table="labels.csv", read=read, size=8, groups="dicom", mixed_photometric=True,
                            modality="ct", on_overlap="drop")  # fmt: skip
    words = [word for key, value in data.reproducible_args.items() for word in (f"--data.{key}", str(value))]
    again = parse("--data.root", str(root), "--data.table", "labels.csv", *words)
    assert again.reproducible_args == data.reproducible_args
    assert json.loads(json.dumps(asdict(again.options))) == json.loads(json.dumps(asdict(data.options)))
    assert again.on_overlap == "drop"


def test_columns_and_paths_come_from_the_command_line(root, tmp_path):
    write_table(root, twenty(), columns=("Image Index", "Finding"))
    options = ("--data.table=labels.csv", "--data.columns.path=Image Index", "--data.columns.label=Finding")
    data = parse(f"--data.root={root}", f"--data.cache={tmp_path / 'cache'}", *options)
    assert data.columns == Columns(path="Image Index", label="Finding")
    assert data.spec.class_names == ("healthy", "ill")


def test_options_of_a_cache_key_keep_their_form():
    """The text is part of the key of every cache that was written; another form would decode all files again."""
    options = DecodeOptions(ReadOptions(window=("lung", (40, 80)), frames="mask", mask_label=2), 64, patients=True)
    assert json.dumps([_VERSION, asdict(options)]) == (
        '[3, {"read": {"window": ["lung", [40, 80]], "assume_hu": false, "frames": "mask", "axis": "axial", '
        '"spacing": null, "max_pixels": 268435456, "mask_label": 2}, "size": 64, "fit": "stretch", "color": "keep", '
        '"mixed_photometric": false, "on_error": "error", "patients": true}]'
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [("window", "read.window"), ("frames", "read.frames"), ("max_pixels", "read.max_pixels"),
     ("path_column", "columns.path"), ("mask_column", "columns.mask")],
)  # fmt: skip
def test_arguments_that_moved_into_a_group_are_named(old, new):
    with pytest.raises(TypeError, match=f"FolderDataModule has no argument '{old}'; it was renamed to '{new}'"):
        FolderDataModule("scans", **{old: None})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        FolderDataModule("scans", nonsense=1)
    with pytest.raises(TypeError, match="positional"):
        FolderDataModule("scans", "labels.csv")
