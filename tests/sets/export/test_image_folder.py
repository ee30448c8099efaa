"""The image folder: names that every file system takes, and readers of other packages."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from torchvision.datasets import ImageFolder

from lightning_distill import FolderDataModule, export_set
from lightning_distill.sets.export.image_folder import class_folder
from lightning_distill.sets.storage import read_set


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("benign", "3_benign"),
        ("../..", "3"),
        ("結節", "3"),
        ("CON", "3_CON"),
        ("a/b\\c:d", "3_a_b_c_d"),
        ("x" * 300, None),
    ],
)  # fmt: skip
def test_class_folders_are_safe_and_distinct(name, expected):
    folder = class_folder(3, name, 10)
    assert folder == expected or (expected is None and len(folder) < 50)
    assert class_folder(3, name, 11).startswith("03")


def test_torchvision_reads_images_and_classes(tmp_path, make_set):
    source = make_set(3)
    read = ImageFolder(export_set(source, tmp_path / "out", to="imagefolder") / "images")
    data = read_set(source)[0]
    assert [label for _, label in read.samples] == data.labels.tolist()
    pixels = np.stack([np.asarray(image) for image, _ in read]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(pixels, data.pixels.numpy())


def test_our_folder_module_reads_the_table(tmp_path, make_set):
    out = export_set(make_set(), tmp_path / "out", to="imagefolder")
    module = FolderDataModule(out, table="labels.csv", multi_label=False, val_fraction=0.5, size=12)
    module.setup()
    assert set(module.spec.class_names) == {"Mélanome / in situ", '=b,"q"', "c|d"}


def test_the_table_has_a_row_for_each_image_with_all_labels(tmp_path, make_set):
    source = make_set(multi_label=True, formation=2, soft=True)
    out = export_set(source, tmp_path / "out", to="imagefolder", decode=False)
    with (out / "labels.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = list(csv.reader(file))
    data = read_set(source)[0]
    assert header[:5] == ["path", "label", "class:Mélanome / in situ", 'class:=b,"q"', "class:c|d"]
    assert header[5:8] == ["soft:0:Mélanome / in situ", 'soft:0:=b,"q"', "soft:0:c|d"]
    assert [row[1] for row in rows] == ["", "", "Mélanome / in situ|c|d", "Mélanome / in situ|c|d", '=b,"q"', '=b,"q"']
    assert [list(map(int, row[2:5])) for row in rows] == data.spec.targets(data.labels).int().tolist()
    np.testing.assert_array_equal(np.float32([row[5:] for row in rows]).reshape(-1, 3), data.soft_labels.numpy())
    assert all((out / row[0]).parent.name == "images" for row in rows)
