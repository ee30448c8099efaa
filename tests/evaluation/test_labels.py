"""Keys and captions of baselines."""

import csv
from typing import get_args

import pytest

from lightning_distill._renamed import CELLS
from lightning_distill.evaluation.labels import (
    FULL_BASELINES,
    LABELS,
    BaselineName,
    coreset_baseline,
    coreset_method,
    display_name,
    file_stem,
    name_of_file,
)
from lightning_distill.report.results import read_results
from lightning_distill.sets.coresets import METHODS
from lightning_distill.utils.csv_rows import read_csv

#: Cells of ``trained_on`` that version 0.1.0 wrote, and their captions.
OLD = {
    "random": "random subset",
    "herding": "herding",
    "kcenter (embedding)": "k-center (embedding)",
    "kmeans (embedding)": "k-means (embedding)",
    "herding (embedding)": "herding (embedding)",
    "all real data": "all real data",
    "all real data, classes weighted": "all real data, classes weighted",
    "all real data, balanced": "all real data, balanced",
    "DSADistiller": "DSA",
}


def test_every_baseline_has_one_key_and_one_caption():
    assert list(LABELS) == list(get_args(BaselineName))
    assert len(set(LABELS.values())) == len(LABELS)
    spaces = [(method, space) for method in METHODS for space in ("pixels", "embedding") if method != "random"]
    keys = {"random", *(coreset_baseline(*pair) for pair in spaces)}
    assert keys | set(FULL_BASELINES) == set(LABELS)
    assert {key: coreset_method(key) for key in keys} == {"random": "random"} | {
        coreset_baseline(method, space): method for method, space in spaces
    }
    assert [coreset_method(name) for name in (*FULL_BASELINES, "DMDistiller", "", "x_embedding")] == [None] * 6


@pytest.mark.parametrize(
    "name", ["all real data", "random subset", "k-center (embedding)", "DM", "Distiller", "x y", ""]
)
def test_a_name_without_a_caption_is_printed_as_it_is(name):
    assert display_name(name) == name


@pytest.mark.parametrize("old", OLD)
def test_old_cells_and_file_names_get_the_present_captions(tmp_path, old):
    path = tmp_path / "r.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "source", "trained_on", "ipc", "images", "split", "students", "acc"])
        writer.writerow(["toy", "s", old, "5", "10", "test", "2", "0.5"])
    (row,), (result,) = read_csv(path), read_results(path)
    assert row["trained_on"] == result.cells["trained_on"]
    assert display_name(row["trained_on"]) == result.name == OLD[old]
    assert set(CELLS["trained_on"].values()) < set(LABELS)
    for stem in (file_stem(old), file_stem(row["trained_on"])):
        assert display_name(name_of_file(stem)) == OLD[old]


def test_only_the_column_of_the_names_is_translated(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("dataset,source,trained_on\nall real data,all real data,all real data\n")
    assert read_csv(path) == [{"dataset": "all real data", "source": "all real data", "trained_on": "full"}]


def test_a_file_with_the_old_and_the_new_name_of_a_column_keeps_both_values(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("dataset,acc_ci95,acc_ci95_half_width\na,.1,\nb,,.2\nc\n")
    assert [row["acc_ci95_half_width"] for row in read_csv(path)] == [".1", ".2", ""]
