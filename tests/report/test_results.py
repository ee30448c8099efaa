"""Rows of CSVs: what is read, refused, put together, and what is cut out."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from lightning_distill._renamed import CELLS, COLUMNS
from lightning_distill.report.redact import redact_command, redact_paths
from lightning_distill.report.results import REQUIRED, Result, grouped, read_results
from lightning_distill.utils.statistics import t_half_width
from lightning_distill.visualization.format import bracket, estimate, spread

RESULTS = ROOT / "benchmarks/results"
ROW = {
    "dataset": "toy", "source": "made up", "trained_on": "random", "ipc": "5", "images": "10", "split": "test",
    "network": "convnet", "protocol": "quick", "students": "5", "acc": "0.8", "acc_std": "0.02",
}  # fmt: skip


def write(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("students", [3, 5, 20])
def test_the_interval_is_students_t(students):
    values = np.random.default_rng(students).random(students)
    low, high = stats.t.interval(0.95, students - 1, values.mean(), stats.sem(values))
    half = t_half_width(values.std(ddof=1), students)
    np.testing.assert_allclose([values.mean() - half, values.mean() + half], [low, high])


def test_numbers_are_never_bare():
    assert spread(estimate(0.8432, 0.0123, math.nan, 5)) == "84.3 ± 1.2"
    assert bracket(estimate(0.843, 0.012, 0.015, 5)) == "[82.8, 85.8]"
    assert spread(estimate(0.8, math.nan, math.nan, 1)) == "80.0 (one student)"
    assert bracket(estimate(0.8, math.nan, math.nan, 1)) == ""
    assert spread(estimate(0.8, math.nan, math.nan, 3)) == "80.0 (no spread given)"
    assert spread(estimate(math.nan, math.nan, math.nan, 3)) == "-"
    assert spread(estimate(0.5, 0.25, 0.1, 3), 1, 3) == "0.500 ± 0.250"


@pytest.mark.parametrize("name", ["medical", "dm", "mnist", "mnist_reference"])
def test_committed_results_are_read_whole(name):
    path = RESULTS / f"{name}.csv"
    results = read_results(path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    rows = [{COLUMNS.get(name, name): cell for name, cell in row.items()} for row in rows]  # written by version 0.1.0
    rows = [{name: CELLS.get(name, {}).get(cell, cell) for name, cell in row.items()} for row in rows]
    assert [dict(result.cells) for result in results] == rows
    groups = grouped(results)
    assert sum(len(group.results) for group in groups) == len(rows)
    for result, row in zip(results, rows, strict=True):
        value = result.measured("acc")
        assert value.mean == float(row["acc"])
        assert value.high - value.mean == pytest.approx(float(row["acc_ci95_half_width"]))
        balanced = result.measured("balanced_acc")  # its interval follows from its std
        assert balanced.high - balanced.mean == pytest.approx(
            stats.t.ppf(0.975, 4 if row["students"] == "5" else 2) * float(row["balanced_acc_std"])
            / float(row["students"]) ** 0.5
        )  # fmt: skip


@pytest.mark.parametrize("name", ["compile", "memory", "speed"])
def test_a_csv_of_something_else_is_refused_with_its_columns(name):
    with pytest.raises(ValueError, match=f"{name}.csv has no column dataset, .*; it has .*machine, .*torch"):
        read_results(RESULTS / f"{name}.csv")


@pytest.mark.parametrize("column", REQUIRED)
def test_a_missing_column_is_named(tmp_path, column):
    path = write(tmp_path / "r.csv", [{name: cell for name, cell in ROW.items() if name != column}])
    with pytest.raises(ValueError, match=f"has no column {column}; it has "):
        read_results(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acc": "good"}, "line 3: acc='good' is not a number"),
        ({"acc_std": "x"}, "line 3: acc_std='x' is not a number"),
        ({"ipc": "many"}, "line 3: ipc='many'"),
        ({"ipc": "0"}, "line 3: ipc='0'"),
        ({"students": "0"}, "students='0'"),
        ({"students": ""}, "students=''"),
        ({"images": "-2"}, "images='-2'"),
    ],
)
def test_a_cell_that_cannot_be_is_named_with_its_line(tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        read_results(write(tmp_path / "r.csv", [ROW, {**ROW, **change}]))


def test_an_empty_csv_and_one_of_bytes_are_refused(tmp_path):
    write(tmp_path / "r.csv", [ROW])
    (tmp_path / "head.csv").write_text(",".join(ROW) + "\n")
    with pytest.raises(ValueError, match="columns but no rows"):
        read_results(tmp_path / "head.csv")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(ValueError, match="it has none"):
        read_results(tmp_path / "empty.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00dataset")
    with pytest.raises(ValueError, match=r"bytes.csv is not a CSV"):
        read_results(tmp_path / "bytes.csv")


def test_rows_are_compared_only_where_they_are_alike_baselines_first_and_each_once(tmp_path):
    rows = [
        {**ROW, "trained_on": "DMDistiller"},
        {**ROW, "trained_on": "all real data", "ipc": "all", "images": "400"},
        {**ROW, "trained_on": "herding", "ipc": "3/7"},
        {**ROW, "trained_on": "random", "ipc": "1", "images": "2"},
        ROW, ROW,
        {**ROW, "dataset": "other"},
        {**ROW, "split": "val"},
    ]  # fmt: skip
    groups = grouped(read_results(write(tmp_path / "r.csv", rows)))
    assert [(g.alike["dataset"], g.alike["split"]) for g in groups] == [
        ("toy", "test"),
        ("toy", "val"),
        ("other", "test"),
    ]
    assert [(row.ipc, row.name) for row in groups[0].results] == [
        (1, "random subset"), (5, "random subset"), (5, "herding"), (5, "DM"), (math.inf, "all real data"),
    ]  # fmt: skip
    assert [row.classes for row in groups[0].results] == [2, 2, 2, 2, None]


@pytest.mark.parametrize(
    ("key", "name", "baseline"),
    [
        ("random", "random subset", "random"),
        ("kmeans_embedding", "k-means (embedding)", "kmeans"),
        ("DMDistiller", "DM", None),
        ("full", "all real data", None),
        ("full_balanced", "all real data, balanced", None),
        ("Distiller", "Distiller", None),
        ("randomly", "randomly", None),
    ],
)
def test_what_was_trained_on_has_a_name_in_tables(key, name, baseline):
    result = Result({**ROW, "trained_on": key})
    assert (result.name, result.baseline) == (name, baseline)


def test_scores_are_found_by_their_spread_and_put_in_themes(tmp_path):
    row = {
        **ROW,
        "ece": "0.1",
        "ece_std": "0.01",
        "new": "3",
        "new_ci95_half_width": "1",
        "seconds": "4",
        "kappa": "",
        "kappa_std": "",
    }
    (group,) = grouped(read_results(write(tmp_path / "r.csv", [row])))
    themes = {theme: list(scores) for theme, scores in group.scores().items()}
    assert themes == {
        "Scores": ["acc"],
        "Calibration, before and after temperature scaling on val": ["ece"],
        "Further columns": ["new"],
    }


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/jane/runs/set.safetensors", "set.safetensors"),
        ("from /home/jane/data/x.npz, resized", "from x.npz, resized"),
        ("~/secret/runs", "runs"),
        (r"C:\Users\jane\x.npz", "x.npz"),
        ("runs/medical/dm-1/last", "runs/medical/dm-1/last"),
        ("n/a, 3/5/7, kg/m2, and/or", "n/a, 3/5/7, kg/m2, and/or"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_paths_of_a_machine_are_cut_and_nothing_else(text, left):
    assert redact_paths(text) == left


def test_commands_keep_their_words():
    command = (
        "lightning-distill evaluate --set '/home/jane doe/a/best' --out=/tmp/x/r.csv --data.source 'official file'"
    )
    assert redact_command(command) == (
        "lightning-distill evaluate --set best --out=r.csv --data.source 'official file'"
    )
    for result in read_results(RESULTS / "medical.csv"):
        assert result.text("command") == result.cells["command"]
    assert redact_command("it's /home/jane/x") == "it's x"


def test_what_a_row_of_a_grid_lacks_follows_from_the_rows_beside_it(tmp_path):
    rows = [
        {**ROW, "acc": "0.6"},
        {**ROW, "trained_on": "random", "ipc": "1", "images": "2", "acc": "0.1"},
        {**ROW, "trained_on": "all real data", "ipc": "all", "images": "90", "acc": "0.8"},
        {**ROW, "trained_on": "DMDistiller", "acc": "0.7", "bytes_ratio": "0.01"},
        {**ROW, "trained_on": "DCDistiller", "acc": "0.7", "acc_gain_over_random": "0.02"},
    ]
    (group,) = grouped(read_results(write(tmp_path / "r.csv", rows)))
    derived = {row.name: group.derived(row) for row in group.results if row.ipc == 5}
    assert derived["random subset"] == {}
    known = {"against all real images": "-10.0 points", "against random images": "+10.0 points", "score kept": "87.5 %",
             "bytes kept": "1 %"}  # fmt: skip
    a = 0.5 * 0.1 - 0.5 * 0.1
    known["label-robust score (LRS)"] = f"{(math.exp(a) - math.exp(-1)) / (math.e - math.exp(-1)):.4f}"
    assert derived["DM"] == known
    assert derived["DC"]["against random images"] == "+2.0 points"  # what the row says counts
    assert {row.name: group.derived(row) for row in group.results if math.isinf(row.ipc)} == {"all real data": {}}
