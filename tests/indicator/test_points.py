"""Which rows of result CSVs make a point."""

from __future__ import annotations

import csv
import math

import pytest

from lightning_distill.indicator import read_points

ROW = {
    "dataset": "blobs", "source": "a file", "trained_on": "random", "ipc": "10", "images": "30", "split": "test",
    "network": "convnet", "protocol": "quick", "epochs": "301", "students": "5", "acc": "0.5", "balanced_acc": "0.4",
    "precision": "32-true", "command": "lightning-distill evaluate --ipc 10", "fit_steps": "",
}  # fmt: skip
DM = {**ROW, "trained_on": "DMDistiller", "acc": "0.7", "balanced_acc": "0.6", "fit_steps": "100"}


@pytest.fixture
def write(tmp_path):
    def make(*rows, name="r.csv"):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        return tmp_path / name

    return make


def test_a_set_beside_a_random_subset_is_a_point(write):
    points, left_out = read_points([write(ROW, DM)])
    assert not left_out
    (point,) = points
    assert (point.dataset, point.method, point.ipc, point.classes) == ("blobs", "DMDistiller", 10, 3)
    assert (point.random_acc, point.acc, point.fit_steps) == (0.5, 0.7, 100)
    assert math.isnan(point.full_acc)
    assert point.differs == ""
    assert point.file == "r.csv"
    (balanced,) = read_points([write(ROW, DM)], "balanced_acc")[0]
    assert (balanced.random_acc, balanced.acc, balanced.metric) == (0.4, 0.6, "balanced_acc")


@pytest.mark.parametrize("column", ["dataset", "ipc", "split", "network", "protocol", "epochs"])
def test_a_random_subset_of_another_exam_is_not_taken(write, column):
    other = {"ipc": "5", "epochs": "11", "split": "val"}.get(column, "other")
    points, left_out = read_points([write(ROW, {**DM, column: other})])
    assert not points
    assert left_out[0].startswith("r.csv: DMDistiller on")
    assert left_out[0].endswith("no random subset beside it")


def test_nor_one_of_another_file(write):
    points, left_out = read_points([write(ROW, name="a.csv"), write(DM, name="b.csv")])
    assert not points
    assert len(left_out) == 1


def test_other_baselines_make_no_points(write):
    others = [{**DM, "trained_on": name} for name in ("herding", "kcenter", "kmeans", "full")]
    points, left_out = read_points([write(ROW, *others)])
    assert points == left_out == []


def test_classes_of_unequal_size_are_left_out(write):
    counts = {"ipc": "10/10/3", "images": "23"}
    _, left_out = read_points([write({**ROW, **counts}, {**DM, **counts})])
    assert left_out == ["r.csv: DMDistiller on blobs at ipc 10/10/3: classes of unequal size"]


@pytest.mark.parametrize("key", ["full", "all real data"], ids=["key", "key-of-0.1.0"])
def test_full_accuracy_is_that_of_the_same_students_where_there_is_one(write, key):
    full = {**ROW, "trained_on": key, "ipc": "all", "images": "300", "acc": "0.9"}
    other = {**full, "network": "mlp", "acc": "0.8"}
    first = write(ROW, DM)
    for rows, acc, who in (((other, full), 0.9, "convnet, quick"), ((other,), 0.8, "mlp, quick")):
        (point,) = read_points([first, write(*rows, name="full.csv")])[0]
        assert (point.full_acc, point.full_from) == (acc, who)
    (point,) = read_points([first, write({**full, "split": "val"}, name="full.csv")])[0]
    assert math.isnan(point.full_acc)


def test_what_else_differs_is_named(write):
    (point,) = read_points([write(ROW, {**DM, "students": "3", "source": "another"})])[0]
    assert point.differs == "source 'another', random's 'a file'; students '3', random's '5'"
    command = "lightning-distill evaluate --set s --data.augmentation dc_students"
    (point,) = read_points([write(ROW, {**DM, "command": command})])[0]
    assert "augmentation 'dc_students'" in point.differs


def test_bad_files_are_refused(write, tmp_path):
    with pytest.raises(FileNotFoundError, match="no result file"):
        read_points([tmp_path / "nothing.csv"])
    with pytest.raises(ValueError, match=r"r\.csv has two random rows for blobs, 10, test"):
        read_points([write(ROW, {**ROW, "acc": "0.6"}, DM)])
    with pytest.raises(ValueError, match=r"r\.csv has no column 'acc'"):
        read_points([write({key: value for key, value in ROW.items() if key != "acc"})])
