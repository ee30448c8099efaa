"""Slices chosen by a mask: by file with nibabel and by hand, and through a folder with its table."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path
from pydicom.data import get_testdata_file

from lightning_distill import FolderDataModule
from lightning_distill.cli import main
from lightning_distill.data.folder import Columns
from lightning_distill.data.readers import InvalidReadOption, ReadOptions, UnreadableFile, read_image

AXES = {"sagittal": 0, "coronal": 1, "axial": 2}
NAME = "Mustermann^Erika"


def save(path, values, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.eye(4) if affine is None else affine), path)
    return path


def volume_and_mask(seed=0, shape=(6, 7, 9)):
    """Random voxels, and a mask that is largest at 1 of the first, 5 of the second and 2 of the third axis."""
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    mask = np.zeros(shape, np.uint8)
    mask[1, 5, 2] = mask[1, 5, 4] = mask[1, 3, 2] = mask[4, 5, 2] = 3
    return values, mask


def cut(values, axis, place):
    """A slice as a viewer shows it, of a volume stored to the right, anterior and superior."""
    return np.take(values, place, AXES[axis])[::-1, ::-1].T


@pytest.mark.parametrize("axis", AXES)
def test_the_slice_with_the_largest_area_is_read(tmp_path, axis):
    values, mask = volume_and_mask()
    path, mask_path = save(tmp_path / "v.nii.gz", values), save(tmp_path / "m.nii.gz", mask)
    picture = read_image(path, ReadOptions(frames="mask", axis=axis), mask=mask_path)
    areas = (mask != 0).sum(tuple(of for of in range(3) if of != AXES[axis]))
    place = int(areas.argmax())
    assert place == {"sagittal": 1, "coronal": 5, "axial": 2}[axis]
    np.testing.assert_array_equal(picture.pixels, cut(values, axis, place)[None])
    assert (picture.pixels.dtype, picture.scale) == (np.uint8, "8 bit, 0 to 255")


@pytest.mark.parametrize("order", itertools.permutations(range(3)))
def test_however_volume_and_mask_are_stored_the_slice_is_the_same(tmp_path, order):
    upright, marked = volume_and_mask()
    for signs in itertools.product((1, -1), repeat=3):
        affine = np.zeros((4, 4))
        for place, axis in enumerate(order):
            affine[axis, place] = signs[axis] * 2.5
        affine[:, 3] = -100, 30, 7, 1
        stored = [np.ascontiguousarray(of[tuple(slice(None, None, sign) for sign in signs)].transpose(order))
                  for of in (upright, marked)]  # fmt: skip
        path, mask_path = save(tmp_path / "v.nii", stored[0], affine), save(tmp_path / "m.nii", stored[1], affine)
        picture = read_image(path, ReadOptions(frames="mask"), mask=mask_path)
        np.testing.assert_array_equal(picture.pixels[0], cut(upright, "axial", 2), err_msg=str(signs))


@pytest.mark.parametrize("axis", AXES)
def test_a_real_volume_is_cut_where_its_bright_voxels_are_most(tmp_path, axis):
    path = Path(data_path) / "anatomical.nii"  # its first axis runs to the left
    volume = nib.load(path)
    values = np.asarray(volume.dataobj)
    mask_path = save(tmp_path / "m.nii.gz", (values > 8000).astype(np.uint8), volume.affine)
    place = int((values > 8000).sum(tuple(of for of in range(3) if of != AXES[axis])).argmax())
    picture = read_image(path, ReadOptions(frames="mask", axis=axis, window=(5000, 10000)), mask=mask_path)
    expected = np.take(values[::-1], values.shape[0] - 1 - place if axis == "sagittal" else place, AXES[axis])
    np.testing.assert_allclose(picture.pixels[0], np.clip(expected[::-1, ::-1].T / 10000, 0, 1), atol=1e-6)


def test_of_equal_areas_the_one_nearest_to_the_middle_is_read(tmp_path):
    values, mask = volume_and_mask()[0], np.zeros((6, 7, 9), np.float32)
    mask[2, 2, [0, 3, 8]] = 1
    path, mask_path = save(tmp_path / "v.nii", values), save(tmp_path / "m.nii", mask)
    picture = read_image(path, ReadOptions(frames="mask"), mask=mask_path)
    np.testing.assert_array_equal(picture.pixels[0], cut(values, "axial", 3))


@pytest.mark.parametrize(("label", "place"), [(None, 1), (1, 1), (2, 6), (-5, 8)])
@pytest.mark.parametrize("slope", [1.0, 0.1])
def test_of_several_outlines_the_one_asked_for_counts(tmp_path, label, place, slope):
    values, mask = volume_and_mask()[0], np.zeros((6, 7, 9), np.int16)
    mask[:4, :4, 1] = mask[0, 0, 6] = 1
    mask[:2, :2, 6] = mask[5, 5, 1] = 2
    mask[3, 3, 8] = -5
    image = nib.Nifti1Image(np.rint(mask / slope).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(slope, 0.0)
    nib.save(image, tmp_path / "m.nii")
    path = save(tmp_path / "v.nii", values)
    picture = read_image(path, ReadOptions(frames="mask", mask_label=label), mask=tmp_path / "m.nii")
    np.testing.assert_array_equal(picture.pixels[0], cut(values, "axial", place))


def test_a_label_that_a_mask_lacks_is_named_with_those_it_has(tmp_path):
    values, mask = volume_and_mask()
    mask[0, 0, 0] = 7
    path, mask_path = save(tmp_path / "v.nii", values), save(tmp_path / "m.nii", mask)
    with pytest.raises(
        UnreadableFile, match=r"cannot read v.nii: its mask has no label 2, only 3, 7; set mask_label to one"
    ):
        read_image(path, ReadOptions(frames="mask", mask_label=2), mask=mask_path)
    save(mask_path, np.arange(mask.size, dtype=np.int16).reshape(mask.shape) * 2)
    with pytest.raises(
        UnreadableFile, match=r"no label 3, only 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, \.\.\.; set mask_label"
    ):
        read_image(path, ReadOptions(frames="mask", mask_label=3), mask=mask_path)
    save(mask_path, np.full(mask.shape, 0.3, np.float32))
    with pytest.raises(UnreadableFile, match="no label 3, only fractions; set mask_label to one of these"):
        read_image(path, ReadOptions(frames="mask", mask_label=3), mask=mask_path)


@pytest.mark.parametrize("options", [{"mask_label": 0, "frames": "mask"}, {"mask_label": 2}])
def test_a_label_that_cannot_be_asked_for_is_refused(options):
    with pytest.raises(
        ValueError,
        match=rf"mask_label={options['mask_label']}, frames=.*; mask_label must not be 0 and needs frames='mask'",
    ):
        ReadOptions(**options)


def test_a_resampled_volume_has_its_mask_resampled_with_it(tmp_path):
    values, mask = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8)
    values[:] = np.array([0, 100, 200, 300])
    mask[1:3, 1:3, 2] = 1
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    path, mask_path = save(tmp_path / "v.nii", values, affine), save(tmp_path / "m.nii", mask, affine)
    options = ReadOptions(frames="mask", window=(150, 300), spacing=1)
    picture = read_image(path, options, mask=mask_path)
    assert picture.pixels.shape == (1, 7, 7)
    np.testing.assert_allclose(picture.pixels, 200 / 300, atol=1e-6)
    mask[:] = 0
    mask[1, 1, 1] = 1
    save(mask_path, mask, affine)
    with pytest.raises(
        UnreadableFile, match=r"v.nii: its mask falls between the voxels of spacing=6; give a smaller spacing"
    ):
        read_image(path, ReadOptions(frames="mask", window=(150, 300), spacing=6), mask=mask_path)


@pytest.mark.parametrize(("shift", "fits"), [(0.0, True), (0.05, True), (0.5, False), (1000.0, False)])
def test_affines_may_differ_by_rounding_only(tmp_path, shift, fits):
    values, mask = volume_and_mask()
    affine = np.diag([1.0, 1.0, 3.0, 1.0])
    moved = affine.copy()
    moved[0, 3] = shift
    path, mask_path = save(tmp_path / "v.nii", values, affine), save(tmp_path / "m.nii", mask, moved)
    if fits:
        assert read_image(path, ReadOptions(frames="mask"), mask=mask_path).pixels.shape == (1, 7, 6)
    else:
        with pytest.raises(UnreadableFile, match=rf"its mask is displaced by up to {shift:.2f} mm .*resample the mask"):
            read_image(path, ReadOptions(frames="mask"), mask=mask_path)


@pytest.mark.parametrize("turn", ["scaled", "flipped", "sheared"])
def test_masks_on_another_grid_are_unreadable(tmp_path, turn):
    values, mask = volume_and_mask()
    affine = {"scaled": np.diag([1.0, 1.0, 1.1, 1.0]), "flipped": np.diag([-1.0, 1.0, 1.0, 1.0]),
              "sheared": np.eye(4) + 0.1 * np.eye(4, k=1)}[turn]  # fmt: skip
    path, mask_path = save(tmp_path / "v.nii", values), save(tmp_path / "m.nii", mask, affine)
    with pytest.raises(UnreadableFile, match=r"mm \(the affines differ\)"):
        read_image(path, ReadOptions(frames="mask"), mask=mask_path)


def spoil(mask_path, defect, mask):
    """Make a mask one that does not do."""
    if defect == "empty":
        save(mask_path, np.zeros_like(mask))
    elif defect == "shape":
        save(mask_path, mask[:, :, :8])
    elif defect == "truncated":
        mask_path.write_bytes(mask_path.read_bytes()[:60])
    elif defect == "text":
        mask_path.write_text("no mask")
    elif defect == "gone":
        mask_path.unlink()
    elif defect == "nan":
        save(mask_path, np.full(mask.shape, np.nan, np.float32))
    elif defect == "series":
        save(mask_path, np.stack([mask, mask], -1))


SPOILT = {
    "empty": "cannot read v.nii: its mask marks no voxel; correct the mask, or remove the row",
    "shape": "cannot read v.nii: its mask has 6 x 7 x 8 voxels, the volume 6 x 7 x 9; resample the mask",
    "truncated": "cannot read the mask of v.nii: it is truncated",
    "text": "cannot read the mask of v.nii: it is truncated, damaged or in an unsupported encoding",
    "gone": "cannot read the mask of v.nii: there is no such file",
    "nan": "cannot read the mask of v.nii: it has NaN or infinite voxels",
    "series": "cannot read v.nii: the mask of v.nii has 6 x 7 x 9 x 2 voxels, 2 volumes and not one",
}


@pytest.mark.parametrize("defect", SPOILT)
def test_masks_that_do_not_do_are_unreadable(tmp_path, defect):
    values, mask = volume_and_mask()
    path, mask_path = save(tmp_path / "v.nii", values), save(tmp_path / "m.nii", mask)
    spoil(mask_path, defect, mask)
    with pytest.raises(UnreadableFile, match=SPOILT[defect]):
        read_image(path, ReadOptions(frames="mask"), mask=mask_path)


def test_a_choice_that_cannot_be_is_refused(tmp_path):
    values, _ = volume_and_mask()
    path = save(tmp_path / "v.nii", values)
    with pytest.raises(InvalidReadOption, match=r"v.nii has no mask and frames='mask' needs one"):
        read_image(path, ReadOptions(frames="mask"))
    with pytest.raises(InvalidReadOption, match=r"CT_small.dcm is not a volume; frames='mask' needs volumes"):
        read_image(get_testdata_file("CT_small.dcm", download=False), ReadOptions(frames="mask"), mask=path)


@pytest.fixture
def root(tmp_path):
    """Eight volumes and their masks in a folder, with a table; the largest area of volume n is at 2."""

    def write(mask="mask", rows=8):
        folder = tmp_path / "root"
        with (tmp_path / "labels.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "label", mask))
            for n in range(rows):
                values, marked = volume_and_mask(n)
                save(folder / f"{NAME}{n}.nii.gz", values)
                save(folder / "masks" / f"{NAME}{n}.nii.gz", marked)
                writer.writerow((f"{NAME}{n}.nii.gz", "ill" if n % 2 else "well", f"masks/{NAME}{n}.nii.gz"))
        return folder

    return write


def load(folder, **options):
    read = {key: options.pop(key) for key in ("frames", "axis", "mask_label") if key in options}
    options = {"table": str(folder.parent / "labels.csv"), "val_fraction": 0.5, **options}
    return FolderDataModule(str(folder), read=ReadOptions(**{"frames": "mask", **read}), **options)


@pytest.mark.parametrize("column", ["mask", "Segmentation"])
def test_a_table_names_the_masks_and_the_source_the_rule(root, column, recwarn):
    folder = root(column)
    data = load(folder, columns=Columns(mask=column), source="clinic A", axis="coronal")
    assert data.spec.source == "clinic A, coronal slice of 3D volumes in which the mask has its largest area"
    assert data.spec.shape == (1, 9, 6)
    images = np.concatenate([data.splits[split][0][:, 0] for split in ("train", "val")])
    expected = [cut(volume_and_mask(n)[0], "coronal", 5) for n in range(8)]
    numbers = sorted(next(n for n in range(8) if np.array_equal(image, expected[n])) for image in images)
    assert numbers == list(range(8))
    assert data.groups == {}
    assert data.reproducible_args == {"read.frames": "mask", "read.axis": "coronal"}
    assert not [warning for warning in recwarn if "left out" in str(warning.message)]  # masks are no unlisted images


def test_the_label_stands_in_source_recipe_and_cache(root, tmp_path):
    folder, cache = root(), str(tmp_path / "cache")
    data = load(folder, mask_label=3, cache=cache)
    assert data.spec.source == "user files, axial slice of 3D volumes in which label 3 of the mask has its largest area"
    assert data.reproducible_args == {"read.frames": "mask", "read.mask_label": 3}
    with pytest.raises(ValueError, match="its mask has no label 4, only 3; set mask_label to one of these"):
        load(folder, mask_label=4, cache=cache).setup()


@pytest.mark.parametrize(("frames", "text"), [("middle", "middle axial slice"), ("all", "all axial slices")])
def test_other_choices_are_named_too(root, frames, text):
    data = load(root(), frames=frames)
    with pytest.warns(UserWarning, match="8 images below root have no row"):  # the masks, which nobody asked for
        data.setup()
    assert data.spec.source == f"user files, {text} of 3D volumes"
    assert data.group_kind == ("file" if frames == "all" else "patient or lesion")


def test_volumes_whose_masks_do_not_do_are_named_or_left_out_and_counted(root):
    folder = root()
    _, mask = volume_and_mask()
    for number, defect in ((1, "empty"), (2, "shape"), (6, "truncated")):
        spoil(folder / "masks" / f"{NAME}{number}.nii.gz", defect, mask)
    with pytest.raises(ValueError, match=r"1.nii.gz: its mask marks no voxel.*, or set on_error='skip' to leave such"):
        load(folder).setup()
    data = load(folder, on_error="skip")
    with pytest.warns(UserWarning, match="3 of 8 files cannot be read and are left out"):
        data.setup()
    assert data.skipped == [f"{NAME}{n}.nii.gz" for n in (1, 2, 6)]
    assert sum(len(labels) for _, labels in data.splits.values()) == 5


def test_another_mask_makes_another_cache(root, tmp_path):
    folder, cache = root(), str(tmp_path / "cache")
    first = load(folder, cache=cache)
    before = np.concatenate([np.asarray(first.splits[split][0]) for split in ("train", "val") if first.spec])
    marked = np.zeros((6, 7, 9), np.uint8)
    marked[:, :, 7] = 1
    for path in (folder / "masks").iterdir():
        save(path, marked)
    again = load(folder, cache=cache)
    after = np.concatenate([np.asarray(again.splits[split][0]) for split in ("train", "val") if again.spec])
    assert not np.array_equal(before, after)
    assert any(np.array_equal(image[0], cut(volume_and_mask(0)[0], "axial", 7)) for image in after)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("", "labels.csv, line 3 has no mask; fill it in or remove the row"),
        ("../m.nii", "line 3 has a mask that is absolute or outside of root"),
        ("/m.nii", "line 3 has a mask that is absolute"),
        ("masks/other.nii", "labels.csv lists 'masks/other.nii', not found below root"),
    ],
)
def test_cells_that_name_no_mask_are_refused(root, tmp_path, cell, message):
    folder = root()
    lines = (tmp_path / "labels.csv").read_text().splitlines()
    lines[2] = ",".join([*lines[2].split(",")[:2], cell])
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        load(folder).setup()


def test_a_table_is_needed_and_its_column(root):
    folder = root("other")
    with pytest.raises(ValueError, match=r"read.frames='mask' needs a table with the mask of each volume; give table"):
        load(folder, table=None)
    with pytest.raises(ValueError, match=r"labels.csv has no column 'mask', only path, label, other; give its name"):
        load(folder).setup()


def test_the_card_says_the_rule_and_names_no_file(root, tmp_path, monkeypatch, capsys):
    root()
    monkeypatch.chdir(tmp_path)
    main(["coreset", "--ipc=1", "--data=FolderDataModule", "--data.root=root", "--data.table=labels.csv",
          "--data.read.frames=mask", "--data.val_fraction=0.5", "--out=c"])  # fmt: skip
    card = (tmp_path / "c" / "card.json").read_text()
    rule = "axial slice of 3D volumes in which the mask has its largest area"
    assert json.loads(card)["data"]["source"] == f"user files, {rule}"
    assert "Mustermann" not in card + "".join(capsys.readouterr())
