"""``last.ckpt`` holds the last step; a run that is resumed at its last step validates and exports."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import torch

from lightning_distill import DistillCheckpoint, DMDistiller, StudentEvaluation, SyntheticSetExport
from lightning_distill.sets.storage import read_set

OPTIONS = {"ipc": 1, "network": "convnet_w16", "lr": 20.0, "init": "real", "formation": 1}


def step_of(path) -> int:
    return int(torch.load(path, weights_only=True)["global_step"])


@pytest.fixture
def fit(make_data, make_trainer, tmp_path):
    """Distil with students, checkpoints and an export in one folder."""

    def go(steps=6, *, resume=None, extra=(), yardsticks=("start",), **options):
        checkpoint = DistillCheckpoint(tmp_path / "ckpt", **options)
        export = SyntheticSetExport(tmp_path / "set", yardsticks=yardsticks)
        students = StudentEvaluation("tiny", 2, architectures=["convnet_w16"])
        trainer = make_trainer(
            max_steps=steps, callbacks=[students, export, checkpoint, *extra], enable_checkpointing=True
        )
        trainer.fit(
            DMDistiller(**OPTIONS), datamodule=make_data(steps_per_epoch=2), ckpt_path=resume, weights_only=True
        )
        return trainer, export

    return go


@pytest.mark.parametrize("mode", ["max", "min"])  # the first or the last validation is the best, or one between
def test_last_is_the_last_step_and_best_the_best(fit, mode, tmp_path):
    trainer, _ = fit(mode=mode)
    assert step_of(tmp_path / "ckpt" / "last.ckpt") == 6
    assert step_of(tmp_path / "ckpt" / "previous.ckpt") == 4
    best = trainer.checkpoint_callback.best_model_path
    assert sorted(os.listdir(tmp_path / "ckpt")) == sorted(
        [".lock", os.path.basename(best), "last.ckpt", "previous.ckpt"]
    )
    assert step_of(best) == int(best.partition("step=")[2].removesuffix(".ckpt"))


def test_a_best_score_at_the_start_does_not_hold_last_back(make_data, make_trainer, tmp_path):
    """Scores that fall: the best is the first validation, and last goes on."""

    class Falling(DMDistiller):
        def validation_step(self, batch, batch_idx):
            self.log("val/acc", 1 / (1 + self.global_step))

    trainer = make_trainer(max_steps=6, callbacks=[DistillCheckpoint(tmp_path)], enable_checkpointing=True)
    trainer.fit(Falling(**OPTIONS), datamodule=make_data(steps_per_epoch=2))
    assert step_of(trainer.checkpoint_callback.best_model_path) == 2
    assert step_of(tmp_path / "last.ckpt") == 6


def test_without_validation_last_is_kept_alone(make_data, make_trainer, tmp_path):
    options = {"limit_val_batches": 0, "enable_checkpointing": True}
    trainer = make_trainer(max_steps=5, callbacks=[DistillCheckpoint(tmp_path, every_n_train_steps=3)], **options)
    trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data(steps_per_epoch=10))
    assert step_of(tmp_path / "last.ckpt") == 5
    assert step_of(tmp_path / "previous.ckpt") == 3


def test_last_of_the_trainer_is_last(fit, tmp_path):
    fit(4)
    trainer, _ = fit(6, resume="last")
    assert trainer.ckpt_path == str(tmp_path / "ckpt" / "last.ckpt")
    assert step_of(tmp_path / "ckpt" / "last.ckpt") == 6


def files(folder) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_run_killed_in_its_last_validation_or_export_is_finished_by_a_resume(fit, tmp_path):
    _, export = fit(6)
    assert export.gain is not None
    whole = files(tmp_path / "set")
    shutil.rmtree(tmp_path / "set")  # nothing was exported
    (tmp_path / "set" / "last").mkdir(parents=True)
    (tmp_path / "set" / "last" / ".set.safetensors.1a2b3c4d").touch()
    _, export = fit(6, resume=tmp_path / "ckpt" / "last.ckpt")
    assert export.gain is not None
    again = files(tmp_path / "set")
    assert list(again) == list(whole)
    for name in ("best", "last"):
        (old, card), (new, card_again) = (read_set_of(each, name, tmp_path) for each in (whole, again))
        assert torch.equal(old.pixels, new.pixels)
        assert card_again == card | {"scores": card_again["scores"], "gain": card_again["gain"]}
        assert card_again["gain"]["measured"] == card["gain"]["measured"]
        assert scores(card_again) == scores(card)


def read_set_of(contents, name, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir(exist_ok=True)
    (folder / "set.safetensors").write_bytes(contents[f"{name}/set.safetensors"])
    return read_set(folder)


def scores(card):
    return {key: value for key, value in card["scores"]["val"].items() if "second" not in key}


def test_card_beside_the_set_is_mended_and_temporaries_are_removed(fit, tmp_path):
    fit(2)
    card = tmp_path / "set" / "best" / "card.json"
    expected = card.read_text()
    card.write_text(json.dumps({**json.loads(expected), "steps": 999}))
    (tmp_path / "set" / "best" / ".card.json.1a2b3c4d").touch()
    fit(2, resume="last", yardsticks=())
    assert json.loads(card.read_text())["steps"] == 2
    assert not [name for name in os.listdir(card.parent) if name.startswith(".")]
    assert json.loads(card.read_text()) == read_set(card.parent)[1]


def test_best_set_that_vanishes_during_the_run_is_written_again(fit, tmp_path):
    from lightning import Callback

    class Remove(Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 5:
                shutil.rmtree(tmp_path / "set")

    with pytest.warns(UserWarning, match="was removed or changed during the run; it was written again"):
        fit(6, extra=[Remove()], yardsticks=())
    best, last = (read_set(tmp_path / "set" / name)[1]["steps"] for name in ("best", "last"))
    assert last == 6
    assert best in (2, 4, 6)


def test_folder_that_cannot_be_written_is_refused_before_the_run(make_data, make_trainer, tmp_path):
    (tmp_path / "file").touch()
    trainer = make_trainer(callbacks=[DistillCheckpoint(tmp_path / "file" / "ckpt")], enable_checkpointing=True)
    with pytest.raises(OSError, match=r"cannot write to .*ckpt"):
        trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data())
    assert trainer.global_step == 0


@pytest.mark.parametrize("options", [{"every_seconds": 0}, {"every_seconds": float("nan")}, {"every_n_train_steps": 0}])
def test_bad_intervals_are_refused(options, tmp_path):
    with pytest.raises(ValueError, match="it must be positive"):
        DistillCheckpoint(tmp_path, **options)


def test_flipped_bit_in_last_goes_on_from_the_one_before(fit, tmp_path):
    whole, _ = fit(6)
    last = tmp_path / "ckpt" / "last.ckpt"
    data = bytearray(last.read_bytes())
    data[len(data) // 2] ^= 1
    last.write_bytes(data)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged.*goes on from previous\.ckpt, step 4"):
        trainer, _ = fit(6, resume=last)
    assert torch.equal(trainer.lightning_module.synthetic.images, whole.lightning_module.synthetic.images)
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged\.ckpt is damaged"):
        DMDistiller.load_from_checkpoint(damaged)
