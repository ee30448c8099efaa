"""Tables are read without their arguments where there is no doubt: the one beside the images, with usual columns."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lightning_distill import FolderDataModule
from lightning_distill.cli import main
from lightning_distill.data.folder.column_names import Columns, recognise_columns
from lightning_distill.sets.storage import read_set


def scans(root, header="file,diagnosis,patient_id", below=".", count=24):
    """Write images into a folder, and a table of file, label and patient beside it; two images are of one patient."""
    place = root / below
    place.mkdir(parents=True)
    for n in range(count):
        Image.fromarray(np.random.default_rng(n).integers(0, 256, (8, 8), np.uint8)).save(place / f"{n}.png")
    rows = [f"{n}.png,{'ab'[n // 2 % 2]},P{n // 2}" for n in range(count)]
    (root / "table.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


@pytest.mark.parametrize("below", [".", "images", "lesions"])
@pytest.mark.parametrize(
    "header", ["path,label,patient", "file,diagnosis,patient_id", "Image Name,Class,PID", "filename,target,subject"]
)
def test_the_table_beside_the_images_is_read(below, header, tmp_path, caplog):
    data = FolderDataModule(scans(tmp_path / "clinic", header, below), val_fraction=0.25)
    assert data.spec.class_names == ("a", "b")
    assert sum(len(labels) for _, labels in data.splits.values()) == 24
    assert len(set(data.groups["train"]) | set(data.groups["val"])) == 12
    assert not set(data.groups["train"]) & set(data.groups["val"])
    names = header.split(",")
    if names[0] != "path":
        said = f"table.csv: path = {names[0]!r}, label = {names[1]!r}, patient = {names[2]!r}; columns.path"
        assert said in caplog.text


def test_class_folders_are_preferred_to_a_table(tmp_path):
    root = scans(tmp_path / "clinic", below="a")
    scans(tmp_path / "other", below="b")
    (tmp_path / "other" / "b").rename(root / "b")
    data = FolderDataModule(root)
    assert data.table is None
    assert sum(len(labels) for _, labels in data.splits.values()) == 48


def test_two_tables_are_not_guessed_between(tmp_path):
    root = scans(tmp_path / "clinic")
    (root / "more.csv").write_text("a,b\n")
    with pytest.raises(ValueError, match=r"no class folders; .* or give table"):
        FolderDataModule(root).setup()


def test_a_doubtful_column_is_named(tmp_path):
    root = scans(tmp_path / "clinic", "file,diagnosis,class")
    with pytest.raises(ValueError, match=r"'diagnosis', 'class' may be the label; name one as columns.label"):
        FolderDataModule(root).setup()
    data = FolderDataModule(root, columns=Columns(label="diagnosis"))
    assert data.spec.class_names == ("a", "b")


@pytest.mark.parametrize(
    ("names", "asked", "expected"),
    [
        (["path", "label", "file", "class"], {}, ("path", "label", "patient")),  # the names that are documented first
        (["image_id", "dx", "lesion_id"], {}, ("path", "label", "patient")),  # a public table: its message knows more
        (["scan", "grade"], {}, ("path", "label", "patient")),
        (["FILE_NAME", "Category", "Case-ID"], {}, ("FILE_NAME", "Category", "Case-ID")),
        (["file", "diagnosis", "sex"], {"label": "sex"}, ("file", "sex", "patient")),
    ],
)
def test_only_missing_default_names_are_replaced(names, asked, expected):
    found = recognise_columns(names, Columns(**asked), "table.csv")
    assert (found.path, found.label, found.patient) == expected


@pytest.mark.parametrize("size", ["12", "[12,12]"])
def test_a_size_is_a_number_or_a_pair(size, tmp_path, capsys):
    root = scans(tmp_path / "clinic")
    main(["coreset", str(root), f"--data.size={size}", "--method=random", "--ipc=2", f"--out={tmp_path / 'set'}"])
    assert read_set(tmp_path / "set")[0].spec.shape == (1, 12, 12)
