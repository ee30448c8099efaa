"""``lightning-distill indicator`` on the command line, and ``benchmarks/indicator.py`` from CSV files to a study."""

from __future__ import annotations

import csv
import runpy
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT, blobs
from indicator.test_study import cloud

from lightning_distill import ArrayDataModule
from lightning_distill.cli import main
from lightning_distill.commands.indicator import indicator, verdict
from lightning_distill.indicator import fit_study, read_study

SMALL = {"students": 2, "protocol": "tiny", "network": "convnet_w16", "accelerator": "cpu"}


def typed(*more):
    return ["indicator", "--data=DigitsDataModule", *(f"--{key}={value}" for key, value in SMALL.items()), *more]


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_command_on_digits(tmp_path, capsys):
    main(typed("--ipc=[1,3]", "--full=true", f"--out={tmp_path / 'i.csv'}"))
    shown = " ".join(capsys.readouterr().out.split())
    rows = read(tmp_path / "i.csv")
    study = read_study()
    methods = [line.method for line in study.lines]
    assert [(row["ipc"], row["method"]) for row in rows] == [(ipc, method) for ipc in "13" for method in methods]
    for row, line in zip(rows, [*study.lines, *study.lines], strict=True):
        random = float(row["random_acc"])
        prediction = line.predict(random)
        values = [float(row[name]) for name in ("predicted_acc", "low", "high", "error")]
        assert values == pytest.approx([prediction.acc, prediction.low, prediction.high, line.error], abs=1e-4)
        assert 0 <= random <= 1
        assert row["images"] == str(10 * int(row["ipc"]))
        assert (row["classes"], row["train_images"], row["split"]) == ("10", "1077", "val")
        assert float(row["knn_acc"]) > 0.95
        assert float(row["full_acc"]) > 0
        assert "protocol tiny (study: " in row["outside"]
        assert "--ipc '[1,3]' --students 2 --protocol tiny --network convnet_w16 --full true" in row["command"]
    assert str(tmp_path) not in (tmp_path / "i.csv").read_text()
    for text in (
        "5 nearest neighbours of 1,077 images", "all real data", "random: random subsets of that size",
        "These accuracies are predicted, not measured.",
        "small budgets", "test images, this command val images", "Warning: ipc 1 is outside of the range of the study",
        "100%",
    ):  # fmt: skip
        assert text in shown
    for line in study.lines:
        assert " ".join(line.describe_error().split()) in shown
        prediction = line.predict(float(rows[0]["random_acc"]))
        interval = f"({100 * prediction.low:.0f} to {100 * prediction.high:.0f})*"
        cell = f"{100 * prediction.acc:.0f} {interval} │ {100 * line.error:.1f}"
        assert f"{line.method} │ {cell}" in shown.replace("  ", " ")


def test_random_subsets_are_scored_as_evaluate_scores_them(make_data):
    from lightning_distill.commands.evaluate import evaluate

    data = make_data(3)
    (indicator_row, *_) = indicator(data, 2, **{**SMALL, "students": 3})
    options = {"students": 3, "protocol": "tiny", "architectures": ["convnet_w16"], "accelerator": "cpu"}
    (evaluate_row,) = evaluate(data=data, baselines=["random"], ipc=2, split="val", **options)
    for ending in ("acc", "acc_std", "acc_ci95_half_width", "balanced_acc"):
        assert getattr(indicator_row, f"random_{ending}") == getattr(evaluate_row, ending)


def test_test_labels_do_not_matter(make_data):
    """Nothing is read of the test split: with its labels turned round every number stays."""
    splits = [list(blobs(3, count, 8, 1, seed)) for seed, count in enumerate((12, 6, 6))]
    rows = [indicator(ArrayDataModule(*splits, name="blobs"), [1], **SMALL)]
    splits[2][1] = 2 - splits[2][1]
    rows.append(indicator(ArrayDataModule(*splits, name="blobs"), [1], **SMALL))
    assert repr(rows[0]) == repr(rows[1])  # NaN is not equal to itself


def test_what_lies_inside_of_the_study_is_not_warned_of(make_data, tmp_path, capsys):
    points = cloud()
    inside = [point.__class__(**{**vars(point), "network": "convnet_w16", "protocol": "tiny"}) for point in points]
    low = [{**vars(inside[0]), "random_acc": x, "acc": 0.5} for x in (0.0, 1.0)]
    study = fit_study([*inside, *(inside[0].__class__(**state) for state in low)])
    (tmp_path / "s.json").write_text(study.to_json())
    (row,) = indicator(make_data(3), 10, study=str(tmp_path / "s.json"), **SMALL)
    assert row.outside == ""
    assert "Warning" not in capsys.readouterr().out
    (tmp_path / "own.json").write_text(study.to_json().replace('"a"', '"blobs"'))
    indicator(make_data(3), 10, study=str(tmp_path / "own.json"), **SMALL)
    assert "Warning: blobs is part of the study" in capsys.readouterr().out
    (row,) = indicator(make_data(3), 11, study=str(tmp_path / "s.json"), **SMALL)
    assert row.outside == "ipc 11 (study: 1 to 10)"
    assert "Warning: ipc 11 is outside of the range of the study for DMDistiller" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize(
    ("low", "high", "outside", "said"),
    [
        (0.72, 0.88, "", "a distilled set is expected to beat random images: DM is predicted at 80 % (72 to 88)"),
        (0.62, 0.88, "", "too close to tell: DM is predicted at 80 % (62 to 88)"),
        (0.40, 0.60, "", "no distilled set is expected to beat random images: DM is predicted at 80 % (40 to 60)"),
        (0.72, 0.88, "ipc 10", "no prediction, the data are outside of the study"),
    ],
)
def test_the_first_line_is_the_verdict(low, high, outside, said, make_data, tmp_path, capsys):
    (row,) = indicator(make_data(3), 10, **SMALL)[:1]
    shown = capsys.readouterr().out.splitlines()
    assert next(line for line in shown if "per class" in line).startswith("blobs, 10 per class: ")
    values = {"method": "DM", "random_acc": 0.7, "predicted_acc": 0.8, "low": low, "high": high, "outside": outside}
    weaker = {**values, "method": "DC", "predicted_acc": 0.1}
    sentence = verdict([replace(row, **weaker), replace(row, **values)])
    assert sentence.startswith(f"blobs, 10 per class: {said}")
    assert sentence.endswith("random images reach 70 %")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--ipc=[1,500]"], "class '0' has 107 training images, ipc=500 needs 500; lower ipc"),
        (["--ipc=0"], "ipc=0; every class needs at least 1 image"),
        (["--ipc=[]"], "ipc=[]; give at least one number"),
        (["--students=1"], "students=1; an interval needs at least 2"),
        (["--network=convnetz"], "closest names: convnet"),
        (["--protocol=slow"], "unknown protocol 'slow'"),
        (["--study=nowhere.json"], "no study nowhere.json"),
    ],
)
def test_bad_input_ends_with_what_is_wrong_and_the_way_out(more, message, capsys):
    with pytest.raises(SystemExit) as done:
        main(typed(*more))
    assert done.value.code == 2
    errors = " ".join(capsys.readouterr().err.split())
    assert message in errors
    assert "Traceback" not in errors


def test_multi_label_data_are_refused():
    images = np.zeros((8, 8, 8), np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None]
    labels = np.tile([[1, 0], [0, 1]], (4, 1))
    data = ArrayDataModule((images, labels), (images, labels), name="many")
    with pytest.raises(ValueError, match="many is multi-label; the study has single-label data only"):
        indicator(data, 1, **SMALL)


def test_a_small_class_may_be_taken_whole(make_data):
    rows = indicator(make_data(2), [20], on_small_class="fewer", **SMALL)
    assert {row.images for row in rows} == {24}
    assert "--on_small_class fewer" in rows[0].command


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return runpy.run_path(str(ROOT / "benchmarks" / "indicator.py"))


def write_results(path, points):
    """Rows as ``evaluate`` writes them."""
    rows = []
    for point in points:
        shared = {
            "dataset": point.dataset, "source": "a file", "ipc": point.ipc, "images": 3 * point.ipc, "split": "test",
            "network": "convnet", "protocol": "quick", "epochs": 301, "students": 5, "precision": "32-true",
            "command": "c", "fit_steps": 100,
        }  # fmt: skip
        for name, acc in (("random", point.random_acc), (point.method, point.acc)):
            rows.append({**shared, "trained_on": name, "acc": acc, "balanced_acc": acc - 0.1})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_the_study_is_made_from_csvs(benchmark, tmp_path, capsys):
    points = cloud()
    write_results(tmp_path / "mine.csv", points)
    study, out = tmp_path / "study.json", tmp_path / "results"
    benchmark["main"]([str(tmp_path / "mine.csv"), "--draws=30", f"--out={out}", f"--json={study}"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "With 5 data sets the intervals are wide" in shown
    assert "too narrow for so few" in shown
    measured, rows = read(out / "indicator_points.csv"), read(out / "indicator.csv")
    assert [row["metric"] for row in measured] == ["acc"] * 10 + ["balanced_acc"] * 10
    assert {row["file"] for row in measured} == {"mine.csv"}
    options = {
        row["quantity"]: row
        for row in rows
        if (row["metric"], row["method"], row["left_out"]) == ("acc", "DMDistiller", "")
    }
    x, y = [p.random_acc for p in points], [p.acc for p in points]
    assert float(options["pearson"]["value"]) == pytest.approx(np.corrcoef(x, y)[0, 1], abs=1e-3)
    assert float(options["pearson"]["low"]) <= float(options["pearson"]["value"]) <= float(options["pearson"]["high"])
    assert options["pearson given full"]["value"] == ""
    assert options["pearson given full"]["points"] == "0"
    (line,) = read_study(study).lines
    assert float(options["error of line"]["value"]) == pytest.approx(100 * line.error, abs=0.01)
    assert float(options["error of y = x"]["value"]) == pytest.approx(100 * line.error_of_same, abs=0.01)
    half = float(options["half width of the prediction interval"]["value"])
    assert half == pytest.approx(100 * line.half_width, abs=0.01)
    assert {(row["sources"], row["points"], row["data_sets"]) for row in (options["pearson"], options["slope"])} == {
        ("mine.csv", "10", "5")
    }
    assert all("machine" not in row and str(tmp_path) not in str(row) for row in rows)


def test_a_study_of_one_data_set_is_refused(benchmark, tmp_path):
    write_results(tmp_path / "mine.csv", cloud(sets="a"))
    with pytest.raises(ValueError, match=r"points of 1 data set \(a\)"):
        benchmark["main"]([str(tmp_path / "mine.csv"), f"--out={tmp_path}", f"--json={tmp_path / 's.json'}"])
    assert not (tmp_path / "s.json").exists()
    assert not (tmp_path / "indicator.csv").exists()
