"""Outputs that cannot be written are refused before students are trained."""

from __future__ import annotations

import pytest

from lightning_distill.cli import main

DATA = ["--data", "DigitsDataModule"]


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", *DATA, "--ipc=1", "--baselines=[random]"],
        ["audit-data", *DATA],
        ["bench"],
        ["mix", *DATA, "--synthetic_set=nothing", "--real=[20]"],
        ["indicator", *DATA],
        ["report", "nothing"],
    ],
    ids=lambda words: words[0],
)
def test_a_folder_in_place_of_a_file_is_refused_before_work(command, tmp_path, capsys, monkeypatch):
    def work(*args, **options):
        raise AssertionError("work began")

    monkeypatch.setattr("lightning_distill.evaluation.students.trainer.StudentTrainer.fit", work)
    with pytest.raises(SystemExit) as stop:
        main([*command, f"--out={tmp_path}"])
    assert stop.value.code == 2
    assert f"cannot write to {tmp_path}: it is a folder; name a file in it" in capsys.readouterr().err
