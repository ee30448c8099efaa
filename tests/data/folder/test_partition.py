"""Test images that are split off train by patient, and the advice where there are none."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from lightning_distill import FolderDataModule
from lightning_distill.cli import main
from lightning_distill.sets.storage import read_set


def folder(root, patients=20, each=3, column=True, **extra):
    """Write ``each`` images of every patient, two classes in turn, with a table; pixel values are unique by image."""
    root.mkdir()
    with (root / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", *(["patient"] if column else []), *extra])
        for patient in range(patients):
            for n in range(each):
                pixels = np.random.default_rng(100 * patient + n).integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(root / f"{patient}_{n}.png")
                cells = [f"{patient}_{n}.png", "ab"[patient % 2], *([f"p{patient}"] if column else [])]
                table.writerow([*cells, *extra.values()])
    return root


def images(data, split):
    return {np.asarray(image).tobytes() for image in data.splits[split][0]}


def test_test_images_are_split_off_by_patient_with_every_class(tmp_path):
    root = folder(tmp_path / "root")
    data = FolderDataModule(root, table="labels.csv", test_fraction=0.2, val_fraction=0.2, seed=3)
    data.setup()
    patient_of = {}
    for patient in range(20):
        for n in range(3):
            patient_of[np.asarray(Image.open(root / f"{patient}_{n}.png")).tobytes()] = patient
    parts = {split: {patient_of[image] for image in images(data, split)} for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 20 == len(set.union(*parts.values()))
    assert len(parts["test"]) == 4
    assert {patient % 2 for patient in parts["test"]} == {0, 1}
    for split, (_, labels) in data.splits.items():
        expected = [patient_of[np.asarray(image).tobytes()] % 2 for image in data.splits[split][0]]
        assert labels.tolist() == expected
    assert "test split of 0.2 of the images by patient, seed 3" in data.spec.source
    again = FolderDataModule(root, table="labels.csv", test_fraction=0.2, val_fraction=0.2, seed=3)
    again.setup()
    assert images(again, "test") == images(data, "test")
    other = FolderDataModule(root, table="labels.csv", test_fraction=0.2, seed=4)
    other.setup()
    assert images(other, "test") != images(data, "test")
    assert data.reproducible_args == {"val_fraction": 0.2, "test_fraction": 0.2, "seed": 3}


def test_without_patients_single_images_are_split_with_a_warning(tmp_path):
    data = FolderDataModule(folder(tmp_path / "root", column=False), table="labels.csv", test_fraction=0.1)
    with pytest.warns(UserWarning, match="test split is made of single images, as no patients are known"):
        data.setup()
    assert np.bincount(data.splits["test"][1]).tolist() == [3, 3]
    assert "by image, seed 0" in data.spec.source


@pytest.mark.parametrize("fraction", [-0.1, 0.6, 1])
def test_fractions_out_of_range_are_refused_at_once(fraction):
    with pytest.raises(ValueError, match=r"test_fraction=.*; it must be 0 \(no test split made\) to 0.5"):
        FolderDataModule("nowhere", test_fraction=fraction)
    with pytest.raises(ValueError, match=r"val_fraction=1\.5; it must lie between 0 and 1"):
        FolderDataModule("nowhere", val_fraction=1.5)


def test_a_test_split_of_the_files_and_a_fraction_conflict(tmp_path):
    root = folder(tmp_path / "root", split="train")
    text = (root / "labels.csv").read_text().splitlines()
    text[1:7] = [row.replace("train", "test") for row in text[1:7]]
    (root / "labels.csv").write_text("\n".join(text))
    with pytest.raises(ValueError, match=r"test_fraction=0\.2, but the files have a test split; set test_fraction=0"):
        FolderDataModule(root, table="labels.csv", test_fraction=0.2).setup()


def test_too_few_patients_name_the_argument(tmp_path):
    root = folder(tmp_path / "root", patients=2)
    with pytest.raises(ValueError, match=r"cannot carve test_fraction=0.2 .*; raise test_fraction or give a test"):
        FolderDataModule(root, table="labels.csv", test_fraction=0.2).setup()


def test_a_missing_test_split_is_named_with_column_and_argument(tmp_path, capsys):
    root = folder(tmp_path / "root")
    data = FolderDataModule(root, table="labels.csv")
    with pytest.raises(ValueError, match=r"no test split; .* column 'split' of the table, or set test_fraction=0.2"):
        data.test_dataloader()
    main(["audit-data", "--data=FolderDataModule", f"--data.root={root}", "--data.table=labels.csv"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "There is no test split" in printed
    assert "test_fraction=0.2" in printed
    with pytest.warns(UserWarning, match="folder has no test split, so that no set can be tested"):
        FolderDataModule(root, table="labels.csv").setup("fit")


def test_the_card_states_the_fraction(tmp_path):
    root = folder(tmp_path / "root")
    data = ["--data=FolderDataModule", f"--data.root={root}", "--data.table=labels.csv", "--data.test_fraction=0.2"]
    main(["coreset", "--method=random", "--ipc=1", *data, f"--out={tmp_path / 'set'}"])
    found = next((tmp_path / "set").rglob("set.safetensors"))
    assert "test split of 0.2 of the images by patient, seed 0" in read_set(found)[0].spec.source


def misread(root):
    """Write twelve images in one folder ``lesions``, the table of their labels beside it, and another table."""
    for n in range(12):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8), np.uint8)
        (root / "lesions").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / "lesions" / f"{n}.png")
    (root / "labels.csv").write_text("path,label\n" + "".join(f"lesions/{n}.png,{'ab'[n % 2]}\n" for n in range(12)))
    (root / "staff.csv").write_text("name\nA\n")
    return root


def test_the_audit_blocks_a_folder_read_as_one_class_and_names_its_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    root = misread(tmp_path / "clinic")
    with pytest.raises(SystemExit) as stop:
        main(["audit-data", "--data=FolderDataModule", f"--data.root={root}"])
    assert stop.value.code == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "one class only" in printed
    assert "'labels.csv', 'staff.csv' below root are not read" in printed
    assert "--data.table labels.csv" in printed
    assert "total" in printed
    main(["audit-data", "--data=FolderDataModule", f"--data.root={root}", "--data.table=labels.csv"])
    printed = capsys.readouterr().out
    assert "one class only" not in printed
    assert "are not read" not in printed


def test_a_fit_of_one_class_names_the_table(tmp_path):
    data = FolderDataModule(misread(tmp_path / "clinic"))
    with pytest.raises(
        ValueError,
        match=r"one class only \('lesions'\), and 'labels\.csv', 'staff\.csv' below root are not read",
    ):
        data.setup()
    for name in ("labels.csv", "staff.csv"):
        (tmp_path / "clinic" / name).unlink()
    with pytest.raises(ValueError, match=r"one class only \('lesions'\); distillation needs at least two"):
        FolderDataModule(tmp_path / "clinic").setup()
