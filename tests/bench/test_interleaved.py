"""Taking turns: who is timed when, and what is made of the times."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_distill.bench.cases import PATHS, Size, Variant
from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.bench.measure import measure_path
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.utils.csv_rows import read_csv as read_rows

SMALL = Size(2, 1, 8, 2, 4, None, "convnet_w16", 2, 1, 2)


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    return now


def run(timer, clock, ours):
    """Steps of ours of these seconds, until it is enough."""
    for count, seconds in enumerate(ours, start=1):
        clock[0] += seconds
        if timer():
            return count
    return None


def test_both_are_timed_in_turn_and_the_warm_up_is_kept_apart(clock):
    reference = iter([50.0, 4.0, 6.0, 8.0])
    timer = InterleavedTimer(lambda: clock.__setitem__(0, clock[0] + next(reference)), warmup=1, pairs=3)
    assert run(timer, clock, [20.0, 2.0, 3.0, 4.0, 9.0]) == 4
    assert timer.ours == [20.0, 2.0, 3.0, 4.0]
    assert timer.reference == [50.0, 4.0, 6.0, 8.0]
    assert timer.ratio == 2.0
    assert timer.quartiles(timer.ours) == (2.5, 3.5)
    assert timer.row() == {
        "ours_ms": 3000.0, "ours_q1": 2500.0, "ours_q3": 3500.0, "textbook_ms": 6000.0, "textbook_q1": 5000.0,
        "textbook_q3": 7000.0, "ratio": 2.0, "pairs": 3, "warm_up_s": 20.0,
    }  # fmt: skip


def test_time_after_the_warm_up_ends_it_but_one_pair_is_always_measured(clock):
    assert run(InterleavedTimer(warmup=1, pairs=9, seconds=0.0), clock, [30.0, 1.0, 1.0]) == 2
    assert run(InterleavedTimer(warmup=2, pairs=9, seconds=2.5), clock, [30.0, 30.0, 1.0, 1.0, 1.0, 1.0]) == 5


def test_ours_alone_has_no_ratio(clock):
    timer = InterleavedTimer(pairs=1)
    run(timer, clock, [1.0, 2.0])
    assert math.isnan(timer.ratio)
    assert timer.row() == {"ours_ms": 2000.0, "ours_q1": 2000.0, "ours_q3": 2000.0, "pairs": 1, "warm_up_s": 1.0}


def test_the_other_draws_anew_every_time_and_does_not_touch_our_stream():
    drawn = []
    timer = InterleavedTimer(lambda: drawn.append(torch.rand(()).item()), pairs=3)
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    timer()
    timer()
    assert torch.equal(torch.rand(2), expected)
    assert len(set(drawn)) == 2


@pytest.mark.parametrize("name", ["warmup", "pairs"])
def test_nothing_to_measure_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}=0; it must be at least 1"):
        InterleavedTimer(**{name: 0})


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_every_path_takes_turns_with_the_textbook(path, precision):
    timer = measure_path(path, SMALL, Variant(precision), warmup=1, pairs=2, accelerator="cpu")
    assert len(timer.ours) == len(timer.reference) == 3
    assert timer.ratio > 0


@pytest.mark.parametrize("path", ["dm", "student"])
def test_a_path_is_measured_alone_and_stops_when_time_is_over(path):
    timer = measure_path(path, SMALL, Variant(), pairs=50, seconds=0.0, accelerator="cpu", reference=None)
    assert len(timer.ours) == 2
    assert timer.reference == []


def test_a_book_keeps_rows_of_this_version_only(tmp_path, monkeypatch):
    path = tmp_path / "rows.csv"
    rows_file = ResumableCsv(path, ["work"], ["ours_ms"])
    assert rows_file.is_missing("dm")
    for work, ms in (("dm", 2), ("dsa", 3), ("dm", 1)):
        rows_file.put({"work": work, "ours_ms": ms, **provenance("a command")})
    assert not rows_file.is_missing("dm")
    assert [(row["work"], row["ours_ms"]) for row in read_rows(path)] == [("dm", "1"), ("dsa", "3")]
    assert not ResumableCsv(path, ["work"], ["ours_ms"]).is_missing("dsa")
    assert ResumableCsv(path, ["work"], ["ours_ms"], overwrite=True).is_missing("dsa")
    monkeypatch.setattr("lightning_distill.bench.results.__version__", "9")
    assert ResumableCsv(path, ["work"], ["ours_ms"]).is_missing("dsa")
