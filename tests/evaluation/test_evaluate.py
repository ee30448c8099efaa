"""``evaluate()`` as a library function: no output, no files, all results returned."""

from __future__ import annotations

import math
import sys

import pytest

from lightning_distill import evaluate
from lightning_distill.evaluation.evaluate import EvaluationResults
from lightning_distill.evaluation.result_table import ResultRow
from lightning_distill.evaluation.scores import Scores

QUICK = {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"], "accelerator": "cpu"}


def test_it_prints_and_writes_nothing_and_returns_rows_and_predictions(make_data, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    started, epochs, seen = [], [], []
    results = evaluate(
        data=make_data(),
        ipc=2,
        baselines=["random", "full"],
        on_start=lambda text, total: started.append((text, total)) or (lambda: epochs.append(1)),
        on_result=lambda result, rows: seen.append((result, rows)),
        **QUICK,
    )
    assert capfd.readouterr().out == ""
    assert not list(tmp_path.iterdir())
    assert isinstance(results, EvaluationResults)
    assert [row.trained_on for row in results] == ["random", "full"]
    assert results[-1] is results.rows[1]
    assert [result.predictions.split for result in results.results] == ["test", "test"]
    assert seen == [(result, [row]) for result, row in zip(results.results, results, strict=True)]
    assert [text for text, _ in started] == ["random subset, 2 students", "all real data, 2 students"]
    assert len(epochs) == sum(total for _, total in started)


def test_the_recorded_command_is_what_a_reader_can_type(make_data):
    (row,) = evaluate(data=make_data(), ipc=[2, 3], baselines=["random"], on_small_class="fewer", **QUICK)
    assert row.command == (
        "lightning-distill evaluate --data ArrayDataModule --protocol tiny --baselines '[random]' --ipc '[2,3]' "
        "--students 2 --architectures '[convnet_w16]' --on_small_class fewer"
    )


def test_to_frame_has_a_column_for_each_field(make_data):
    pandas = pytest.importorskip("pandas")
    frame = evaluate(data=make_data(), ipc=2, baselines=["random"], **QUICK).to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == list(ResultRow.__dataclass_fields__)
    assert frame["trained_on"].tolist() == ["random"]


def test_to_frame_names_the_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="pip install pandas"):
        EvaluationResults((), ()).to_frame()


def test_ipc_without_baselines_is_refused(make_data):
    with pytest.raises(ValueError, match="ipc=2 without baselines trains nothing"):
        evaluate(None, make_data(), ipc=2, students=2, protocol="tiny")


def test_a_metric_without_a_value_has_no_spread_and_no_interval():
    scores = Scores([{"auroc": math.nan}, {"auroc": math.nan}], [0, 1], ["a", "a"])
    assert math.isnan(scores.std("auroc"))
    assert math.isnan(scores.half_interval("auroc"))
