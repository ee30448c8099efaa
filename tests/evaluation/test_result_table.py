from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from rich.console import Console

from lightning_distill._renamed import COLUMNS
from lightning_distill.evaluation import Predictions, Scores, StudentEvaluator
from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import bootstrap_interval, paired_bootstrap
from lightning_distill.evaluation.metrics.metric import MetricSpec, image_mean
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.evaluation.metrics.relative import RelativeScores
from lightning_distill.evaluation.result import Candidate, EvaluationResult, bootstrap_all
from lightning_distill.evaluation.result_table import architecture_table, make_row, percent
from lightning_distill.report.results import _sections
from lightning_distill.utils.csv_rows import append_csv, read_csv


def assessed(make_data, acc=0.9, networks=("mlp",)):
    students = len(networks) * 2
    scores = Scores(
        [{"acc": acc, "balanced_acc": acc, "auroc": 0.95, "worst_recall": 0.5, "ece": 0.1}] * students,
        [4, 5] * len(networks), [name for name in networks for _ in range(2)], 1.5, [{"0": 1.0, "1": 0.5}] * students,
    )  # fmt: skip
    data = make_data()
    targets = torch.from_numpy(data.splits["test"][1]) if data.spec else None
    logits = torch.randn(students, len(targets), 2, generator=torch.Generator().manual_seed(0))
    predictions = Predictions(logits, targets, data.spec, scores.seeds, scores.architectures)
    candidate = Candidate(
        "DM",
        [2, 2],
        StudentEvaluator("quick", students=2, architectures=list(networks), seed=4),
        lambda i: None,
        distilled=True,
    )
    return EvaluationResult(candidate, 4, scores, predictions, bootstrap_all(predictions), 0.5)


def row(make_data, acc=0.9):
    return make_row(
        assessed(make_data, acc),
        RelativeScores(acc_gain_over_random=0.25),
        make_data().spec,
        "test",
        False,
        "a command",
    )


def test_rows_are_added_and_read_back(make_data, tmp_path):
    path = tmp_path / "new" / "r.csv"
    append_csv(path, [row(make_data)])
    append_csv(path, [row(make_data, 0.5)])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["acc"] for r in rows] == ["0.9", "0.5"]
    assert rows[0]["ipc"] == "2"
    assert rows[0]["seeds"] == "4-5"
    assert rows[0]["epochs"] == "301"
    empty = {name for name, value in rows[0].items() if not value}
    assert {"kappa", "mAP", "temperature", "gap_full"} < empty, "what was not measured is an empty cell"
    assert not empty & {
        "acc_std",
        "acc_ci95_low",
        "auroc_ci95_high",
        "worst_class",
        "acc_gain_over_random",
        "machine",
        "date",
    }
    assert float(rows[0]["acc_ci95_low"]) < float(rows[0]["acc_ci95_high"])
    assert (rows[0]["worst_class"], rows[0]["acc_gain_over_random"], rows[0]["resampled"]) == ("1", "0.25", "images")
    assert list(path.parent.iterdir()) == [path]


def test_a_file_with_other_columns_is_left_alone(make_data, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="holds other rows: it has no column dataset"):
        append_csv(path, [row(make_data)])
    assert path.read_text() == "a,b\n1,2\n"


def test_a_crash_while_writing_loses_nothing(make_data, tmp_path, monkeypatch):
    path = tmp_path / "r.csv"
    append_csv(path, [row(make_data)])
    before = path.read_text()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_distill.utils.csv_rows.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        append_csv(path, [row(make_data)])
    assert path.read_text() == before


def test_networks_apart_and_how_far_a_set_travels(make_data):
    result = assessed(make_data, networks=("convnet", "mlp", "lenet"))
    names = result.candidate.evaluator.architectures
    rows = [
        make_row(result.for_architecture(name), RelativeScores(), make_data().spec, "test", False, "c", name)
        for name in names
    ]
    assert [(row.network, row.students) for row in rows] == [(name, 2) for name in names]
    assert result.for_architecture("mlp").predictions.logits.equal(result.predictions.logits[2:4])
    moved = [replace(row, scores={**row.scores, "acc": acc}) for row, acc in zip(rows, (0.9, 0.8, 0.6), strict=True)]
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(architecture_table(moved, "title"))
    shown = " ".join(console.export_text().split())
    assert "70.0 │ 60.0 lenet │ +20.0" in shown


def test_percent():
    assert percent(0.8432, 0.0121) == "84.3 ± 1.2"
    assert percent(0.8432, 0.0121, 0.81, 0.8711) == "84.3 ± 1.2 (81.0 to 87.1)"
    assert percent(0.8432, float("nan")) == "84.3"


def test_an_old_file_is_extended_and_its_columns_and_keys_get_their_present_names(make_data, tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("dataset,source,trained_on,acc,acc_ci95,gain_random,job\nold,s,all real data,.7,.02,.1,j\n")
    append_csv(path, [row(make_data)])
    first, second = read_csv(path)
    assert (first["dataset"], first["acc"], first["acc_ci95_half_width"], first["job"]) == ("old", ".7", ".02", "j")
    assert (first["acc_gain_over_random"], first["auroc"]) == (".1", "")
    assert first["trained_on"] == "full"
    assert (second["acc"], second["job"]) == ("0.9", "")
    assert "acc_ci95" not in first


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks" / "results").glob("*.csv")), ids=lambda path: path.stem)
def test_every_committed_result_file_is_read_by_column_name(path):
    with path.open(newline="") as file:
        raw = list(csv.DictReader(file))
    rows = read_csv(path)
    assert len(rows) == len(raw) > 0
    for new, old in zip(rows, raw, strict=True):
        assert [*new.values()] == ["full" if cell == "all real data" else cell for cell in old.values()]
        assert not set(new) & set(COLUMNS)


def test_a_registered_metric_reaches_scores_intervals_comparison_rows_and_report(make_data, monkeypatch):
    top = MetricSpec("first_class", "images of the first class", lambda o: image_mean(o.predicted[..., 0].double()))
    monkeypatch.setitem(METRICS, "first_class", top)
    result = assessed(make_data)
    share = (result.predictions.logits.argmax(-1) == 0).double().mean().item()
    assert compute_metrics(result.predictions.logits[0], result.predictions.targets, make_data().spec)[
        "first_class"
    ] == pytest.approx((result.predictions.logits[0].argmax(-1) == 0).double().mean().item())
    interval = bootstrap_interval(result.predictions, "first_class")
    assert interval.mean == pytest.approx(share)
    assert interval.low <= interval.mean <= interval.high
    assert paired_bootstrap(result.predictions, result.predictions, "first_class").difference.mean == 0
    result.scores.students = [{**scores, "first_class": share} for scores in result.scores.students]
    written = make_row(result, RelativeScores(), make_data().spec, "test", False, "c").to_dict()
    assert written["first_class"] == pytest.approx(share, abs=1e-5)
    assert "first_class_std" in written
    assert _sections()["Scores"]["first_class"].name == "images of the first class, %"
