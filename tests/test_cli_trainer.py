"""Settings of the Trainer that a distiller cannot follow end in one line with status 2."""

from __future__ import annotations

import pytest

from lightning_distill.cli import main

STUDENTS = ["--trainer.callbacks+=StudentEvaluation", "--trainer.callbacks.protocol=tiny"]
KEEP = "--trainer.callbacks+=ModelCheckpoint"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.gradient_clip_val=1"], "a distiller clips by --model.gradient_clip NORM"),
        (["--trainer.accumulate_grad_batches=2"], "a distiller has no accumulation: set --data.real_per_class"),
        ([*STUDENTS, KEEP, "--trainer.callbacks.monitor=val/accc"], "ModelCheckpoint monitors 'val/accc'"),
        ([*STUDENTS, KEEP, "--trainer.callbacks.monitor=val/accc"], "not logged; use val/acc, "),
        (
            [KEEP, "--trainer.callbacks.monitor=val/acc", "--no_export"],
            "logs: add --trainer.callbacks+=StudentEvaluation",
        ),
        (
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=distill/los"],
            "conditioned on metric `distill/los` which is not available",
        ),
        (["--trainer.precision=64-true"], "precision=64-true: the images of a distiller are float32"),
        (["--trainer.callbacks+=LearningRateFinder"], "lr_find cannot set the learning rate of a distiller"),
    ],
)
def test_a_refused_setting_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = ["fit", "--model=DMDistiller", "--model.ipc=1", "--model.network=convnet_w16", "--data=DigitsDataModule"]
    base += ["--data.real_per_class=4", "--trainer.max_steps=1", "--trainer.accelerator=cpu", "--trainer.logger=false"]
    with pytest.raises(SystemExit) as end:
        main([*base, *words])
    assert end.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lightning-distill: ")]
    assert message in line
