"""``fit`` leaves a set, checkpoints and scores in one folder, and nothing elsewhere, unless it is told otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from lightning_distill import DMDistiller, StudentEvaluation
from lightning_distill.callbacks import ValidationBudget
from lightning_distill.cli import main
from lightning_distill.sets.storage import read_set

FIT = [
    "fit", "--model", "dm", "--model.ipc=1", "--model.network=convnet_w16", "--model.compile=off",
    "--model.formation=1", "--data=DigitsDataModule", "--data.real_per_class=8", "--trainer.max_steps=2",
    "--trainer.accelerator=cpu",
]  # fmt: skip
SMALL = ["--protocol=tiny", "--students=2"]


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_most_natural_fit_leaves_set_checkpoint_score_and_says_where(tmp_path, monkeypatch, capsys, caplog):
    monkeypatch.chdir(tmp_path)
    main([*FIT, *SMALL])
    shown = capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["digits_dm"]
    run = tmp_path / "runs" / "digits_dm"
    assert {"best/set.safetensors", "last/set.safetensors", "last/card.json", "checkpoints/last.ckpt"} <= files(run)
    assert read_set(run / "best")[1]["gain"]["metric"] == "acc"
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2
    for foreign in ("GPU available", "TPU", "litlogger", "FLOPs", "weights_only", "LeafSpec", ".py:"):
        assert foreign not in shown, shown
    assert "score it on the test split with lightning-distill evaluate --set runs/digits_dm/best" in caplog.text
    saved = yaml.safe_load(next(run.rglob("config.yaml")).read_text())
    callbacks = {each["class_path"].rpartition(".")[2]: each["init_args"] for each in saved["trainer"]["callbacks"]}
    assert list(callbacks) == [
        "StudentEvaluation",
        "SyntheticSetExport",
        "DistillCheckpoint",
        "StepProgress",
        "ValidationBudget",
    ]
    assert callbacks["StudentEvaluation"]["students"] == 2
    assert callbacks["StudentEvaluation"]["architectures"] == ["convnet_w16"]


def test_options_change_the_callbacks_of_a_configuration_and_add_none_twice(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    callbacks = [
        {"class_path": "lightning_distill.StudentEvaluation", "init_args": {"architectures": ["mlp"], "students": 3}},
        {"class_path": "lightning_distill.SyntheticSetExport", "init_args": {"dirpath": "elsewhere"}},
    ]
    Path("config.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    main([*FIT, "--config=config.yaml", *SMALL, "--out=here"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "here"]
    saved = yaml.safe_load(next((tmp_path / "here").rglob("config.yaml")).read_text())["trainer"]["callbacks"]
    names = [each["class_path"].rpartition(".")[2] for each in saved]
    assert names == ["StudentEvaluation", "SyntheticSetExport", "DistillCheckpoint", "StepProgress", "ValidationBudget"]
    assert saved[0]["init_args"]["architectures"] == ["mlp"]
    assert saved[0]["init_args"]["students"] == 2
    assert saved[1]["init_args"]["dirpath"] == "here"
    assert (tmp_path / "here" / "best" / "set.safetensors").exists()


def test_a_configuration_that_exports_nothing_is_left_alone_and_said(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    main([*FIT, "--trainer.logger=false", "--trainer.callbacks+=StudentEvaluation",
          "--trainer.callbacks.architectures=[mlp]", *SMALL])  # fmt: skip
    assert "no set was exported; --out FOLDER exports it" in caplog.text
    assert not list(tmp_path.rglob("set.safetensors"))


def test_no_export_writes_no_set(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    main([*FIT, "--no_export", "--trainer.logger=false", "--trainer.enable_checkpointing=false"])
    assert not list(tmp_path.rglob("set.safetensors"))
    assert "no set was exported" in caplog.text


def test_runs_of_a_sweep_get_a_folder_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    for run in ("one", "two"):
        monkeypatch.setenv("WANDB_RUN_ID", run)
        main([*FIT, *SMALL, "--trainer.logger=false"])
    assert sorted(path.name for path in (tmp_path / "runs" / "digits_dm").iterdir()) == ["one", "two"]
    assert {"best/set.safetensors", "checkpoints/last.ckpt"} <= files(tmp_path / "runs" / "digits_dm" / "two")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out=here", "--no_export"], "--out here and --no_export contradict each other; leave one out"),
        (["--students=0"], "students=0"),
        (["--protocol=fast"], "unknown protocol 'fast'"),
        (["--model=dn"], "dn"),
    ],
)
def test_bad_options_are_one_line_before_work(options, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*FIT, *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not list(tmp_path.rglob("set.safetensors"))


def test_out_belongs_to_fit(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["validate", "--model=DMDistiller", "--data=DigitsDataModule", f"--out={tmp_path}"])
    assert stop.value.code == 2
    assert "--out is an option of fit, not of validate; leave it out" in capsys.readouterr().err


def test_help_of_fit_begins_with_what_matters(capsys):
    main(["fit", "--help"])
    beginning = capsys.readouterr().out[:1500]
    for option in ("--model dm", "--data FolderDataModule", "--out runs/NAME", "--students 3"):
        assert option in beginning


def validations(text):
    """Return the messages of the budget of validations, and the number of validations that were logged."""
    return [line for line in text.splitlines() if "students are trained and scored" in line], text.count("val/acc 0")


def test_validations_take_a_share_of_the_work(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    words = [*FIT, *SMALL, "--trainer.logger=false", "--trainer.max_steps=5"]
    main([*words, "--out=runs/a"])
    (said,), count = validations(caplog.text)
    assert "scored once, at the end: each time costs" in said
    assert count == 1
    caplog.clear()
    main([*words, "--out=runs/b", "--data.steps_per_epoch=1"])
    assert validations(caplog.text) == ([], 5)


@pytest.mark.parametrize(("share", "expected"), [(100.0, 4), (2.0, 2), (1.0, 1), (0.01, 1)])
def test_the_number_of_validations_follows_the_share(share, expected, make_data, make_trainer):
    """Work: 4 steps of 2 x 8 real images and 3 passes of 2 synthetic ones: 88. Students: 1 x 11 epochs x 3 x 2: 66."""
    evaluation = StudentEvaluation("tiny", 1, architectures=["mlp"], random_baseline=False)
    seen = []
    evaluation.on_validation_start = lambda trainer, module: seen.append(trainer.global_step)
    trainer = make_trainer(max_steps=4, callbacks=[evaluation, ValidationBudget(share)], limit_val_batches=1)
    trainer.fit(DMDistiller(ipc=1, network="convnet_w16", formation=1), make_data(steps_per_epoch=1))
    assert len([step for step in seen if step]) == expected
    assert seen[-1] == 4


def test_a_share_is_above_zero():
    with pytest.raises(ValueError, match="share=0; it must be above 0"):
        ValidationBudget(0)


def test_students_of_a_fit_on_a_pretrained_network_read_its_weights(tmp_path, monkeypatch, encoder_weights):
    monkeypatch.chdir(tmp_path)
    network, weights = next(iter(encoder_weights.items()))
    options = [text for text in FIT if "network" not in text]
    main([*options, *SMALL, f"--model.network={network}:32", f'--model.weights={{"{network}": "{weights}"}}'])
    (name,) = read_set(tmp_path / "runs" / "digits_dm" / "best")[1]["scores"]["val"]["architectures"]
    assert name.startswith(f"{network}:32")


def test_picks_with_soft_labels_and_weights_are_refused_before_work(tmp_path, encoder_weights):
    network, weights = next(iter(encoder_weights.items()))
    with pytest.raises(SystemExit):
        main([
            "coreset", "--data=DigitsDataModule", "--space=embedding", "--labels=soft", f"--network={network}:32",
            f'--weights={{"{network}": "{weights}"}}', f"--out={tmp_path / 'never'}",
        ])  # fmt: skip
    assert not (tmp_path / "never").exists()
