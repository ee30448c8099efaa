"""``StepProgress``: lines of a log without a terminal, one bar for all steps with one."""

from __future__ import annotations

import re
import sys

from lightning_distill import DMDistiller, StudentEvaluation
from lightning_distill.callbacks import StepProgress


def fit(make_data, make_trainer, **options):
    students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"], random_baseline=False)
    trainer = make_trainer(max_steps=4, callbacks=[StepProgress(**options), students], enable_progress_bar=True)
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16", preset="paper"), datamodule=make_data(steps_per_epoch=2))


def test_a_log_gets_lines_of_steps_and_students(make_data, make_trainer, capsys):
    fit(make_data, make_trainer, interval=0)
    lines = capsys.readouterr().err.splitlines()
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split(",")[0] for line in steps] == [f"step {number} of 4" for number in (1, 2, 3, 4)]
    assert all(re.fullmatch(r"step \d of 4, \d\d:\d\d left, loss [\d.e+-]+", line) for line in steps), steps
    assert any(re.match(r".*student.* \d+ of \d+, \d\d:\d\d left", line) for line in lines), lines


def test_no_line_before_the_interval(make_data, make_trainer, capsys):
    fit(make_data, make_trainer, interval=3600)
    assert not [line for line in capsys.readouterr().err.splitlines() if line.startswith("step ")]


def test_a_terminal_gets_one_bar_that_ends_at_the_last_step(make_data, make_trainer, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fit(make_data, make_trainer)
    shown = capsys.readouterr().err
    assert re.search(r"step: +100%.* 4/4 ", shown), shown
    assert "Epoch" not in shown
