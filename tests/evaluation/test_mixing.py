"""``measure_mixtures``: rows of every ratio, without printing or writing."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from lightning_distill.evaluation import LabeledSet, StudentEvaluator, evaluate_students
from lightning_distill.evaluation.mixing import measure_mixtures, mix_real_and_synthetic, num_synthetic, same_steps
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.sets.storage import save_set

SMALL = {"protocol": "tiny", "students": 2, "network": "convnet_w16", "accelerator": "cpu"}


@pytest.fixture
def saved(make_data, tmp_path):
    """A data module, a set, and the path of its file."""
    data = make_data(3)
    spec = data.spec
    pixels = torch.randint(0, 256, (6, *spec.shape), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    own = LabeledSet(pixels, torch.arange(6) % 3, spec)
    return data, own, save_set(tmp_path / "own", own, {"method": "Own"})


def test_rows_are_those_of_a_loop_written_out(saved, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    data, own, path = saved
    before = sorted(tmp_path.rglob("*"))
    progress, measured = [], []
    rows = measure_mixtures(
        data, path, real=[6], ratio=[0.5], **SMALL,
        on_progress=lambda *report: progress.append(report), on_result=measured.append,
    )  # fmt: skip
    assert capsys.readouterr() == ("", "")
    assert sorted(tmp_path.rglob("*")) == before
    assert measured == rows
    accs = []
    for ratio, row in zip((0.0, 0.5), rows, strict=True):
        images = 6 + num_synthetic(6, ratio)
        evaluator = StudentEvaluator(
            same_steps(get_protocol("tiny"), 6, images), students=2, architectures=["convnet_w16"], seed=0
        )
        sampler = mix_real_and_synthetic(data.train_arrays(), [2, 2, 2], own, ratio, data.spec, 0)
        accs.append(evaluate_students(evaluator, sampler, data.test_dataloader()).values("acc"))
        assert (row.real, row.ratio, row.synthetic, row.set, row.set_images) == (6, ratio, images - 6, "Own", 6)
        assert [float(acc) for acc in row.accs.split()] == pytest.approx(accs[-1], abs=1e-5)
        assert row.acc == pytest.approx(statistics.fmean(accs[-1]), abs=1e-5)
        gains = [a - b for a, b in zip(accs[-1], accs[0], strict=True)]
        assert row.gain == pytest.approx(statistics.fmean(gains), abs=1e-5)
        assert row.command.startswith("lightning-distill mix --data ")
        assert "on_progress" not in row.command
    totals = {total for _, _, total in progress}
    assert progress[-1][1] == totals.pop()
    assert not totals
    assert [done for _, done, _ in progress] == sorted(done for _, done, _ in progress)
    assert list(dict.fromkeys(text for text, _, _ in progress)) == [
        "6 real images, ratio 0, 2 students", "6 real images, ratio 0.5, 2 students",
    ]  # fmt: skip


def test_known_rows_are_not_measured_again_unless_the_command_differs(saved):
    data, _, path = saved
    first = measure_mixtures(data, path, real=[6], ratio=[0.5], **SMALL)
    for known, seed, expected in ((first, 0, []), (first[:1], 0, [0.5]), (first, 1, [0.0, 0.5])):
        measured = []
        rows = measure_mixtures(
            data, path, real=[6], ratio=[0.5], seed=seed, known=known, on_result=measured.append, **SMALL
        )
        assert [row.ratio for row in measured] == expected
        if seed == 0:
            assert [(row.accs, row.gain) for row in rows] == [(row.accs, row.gain) for row in first]
            assert all(math.isnan(row.gain_low) for row in rows), "two students have no interval"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"students": 1}, "students=1; an interval needs at least 2"),
        ({"real": []}, "real=\\[\\]; give at least one number"),
        ({"ratio": [-1.0]}, "ratio=-1.0; synthetic images per real image must be 0 or more"),
    ],
)
def test_wrong_numbers_are_refused_before_the_set_is_read(changes, message, make_data):
    with pytest.raises(ValueError, match=message):
        measure_mixtures(make_data(3), "nowhere", **{"real": [6], **SMALL, **changes})


def test_rows_of_other_images_are_measured_again(saved, make_data):
    data, _, path = saved
    first = measure_mixtures(data, path, real=[6], ratio=[0.5], **SMALL)
    other = make_data(3, per_class=14)
    measured = []
    measure_mixtures(other, path, real=[6], ratio=[0.5], known=first, on_result=measured.append, **SMALL)
    assert len(measured) == 2
