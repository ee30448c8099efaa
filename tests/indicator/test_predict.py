"""``predict_accuracies``: rows, statistics and study, without printing or writing."""

from __future__ import annotations

import dataclasses

import pytest

from lightning_distill.evaluation import StudentEvaluator, coreset_sampler, evaluate_students, full_data
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.indicator import measure_predictors, predict_accuracies, read_study

SMALL = {"students": 2, "protocol": "tiny", "network": "convnet_w16", "accelerator": "cpu"}


def test_rows_are_those_of_a_loop_written_out(make_data, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data, progress = make_data(3), []
    result = predict_accuracies(
        data, [1, 2], full=True, seed=4, on_progress=lambda *report: progress.append(report), **SMALL
    )
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
    val, train, study = data.val_dataloader(), data.train_arrays(), read_study()
    assert result.study == study
    assert result.stats == measure_predictors(train, (val.images, val.labels), data.spec, 4)
    evaluator = StudentEvaluator("tiny", students=2, architectures=["convnet_w16"], seed=4)
    long = StudentEvaluator(get_protocol("tiny").for_real_data(36), students=2, architectures=["convnet_w16"], seed=4)
    full = evaluate_students(long, full_data(train, data.spec), val)
    rows = iter(result.rows)
    for ipc in (1, 2):
        sampler = coreset_sampler("random", train, [ipc] * 3, data.spec, 4)
        scores = evaluate_students(evaluator, sampler, val)
        for line in study.lines:
            row = next(rows)
            assert (row.ipc, row.images, row.method, row.seeds) == (ipc, 3 * ipc, line.method, "4-5")
            assert row.random_acc == pytest.approx(scores.mean("acc"), abs=1e-5)
            assert row.random_balanced_acc_std == pytest.approx(scores.std("balanced_acc"), abs=1e-5)
            assert row.full_acc == pytest.approx(full.mean("acc"), abs=1e-5)
            assert row.predicted_acc == pytest.approx(line.predict(scores.mean("acc")).acc, abs=1e-5)
            assert row.command.startswith("lightning-distill indicator --data ")
            assert row.command.endswith("--network convnet_w16 --full true --seed 4")
    assert next(rows, None) is None
    total = 11 * 2 * (3 + 6) + 2 * 36 * (long.protocol.epochs + 1)  # images times epochs times students
    assert {report[2] for report in progress} == {total}
    assert progress[0] == ("nearest neighbours", 0, total)
    assert progress[-1][:2] == ("all real data, 2 students", total)


def test_a_study_of_a_path_is_used(make_data, tmp_path):
    study = dataclasses.replace(read_study(), date="today", points=7)
    (tmp_path / "own.json").write_text(study.to_json())
    rows = predict_accuracies(make_data(3), 1, study=tmp_path / "own.json", **SMALL).rows
    assert {row.study for row in rows} == {"7 points, today"}


def test_wrong_input_is_refused_before_training(make_data):
    with pytest.raises(ValueError, match="students=1; an interval needs at least 2"):
        predict_accuracies(make_data(3), **{**SMALL, "students": 1})
    with pytest.raises(ValueError, match="has 12 training images, ipc=13 needs 13"):
        predict_accuracies(make_data(3), [1, 13], on_progress=pytest.fail, **SMALL)
