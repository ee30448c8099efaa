"""The guard of `SyntheticSetExport`: the exported set against its start and selected real images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_distill import ArrayDataModule, Distiller, DMDistiller, MTTDistiller, StudentEvaluation
from lightning_distill import SyntheticSetExport as Export
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.evaluation import coreset_sampler, get_protocol
from lightning_distill.evaluation.guard import check_gain
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.errors import NoGainError

PROTOCOL = replace(get_protocol("tiny"), epochs=40)


class Jump(Distiller):
    """The first step replaces all images: by real ones, or by noise."""

    def __init__(self, *, result: str, **options):
        super().__init__(**options)
        self.result = result

    def losses(self, real):
        yield self.synthetic.images.sum() * 0

    @torch.no_grad()
    def after_step(self, real):
        images = self.synthetic.images
        per_class = len(images) // len(self.synthetic.counts)
        new = [real.of_class(label)[:per_class] for label in range(len(self.synthetic.counts))]
        images.copy_(torch.cat(new) if self.result == "real" else torch.randn_like(images))


def jump(result, **options):
    return Jump(
        result=result,
        **{"ipc": 3, "network": "convnet_w16", "init": "noise" if result == "real" else "real", **options},
    )


def fit(make_trainer, folder, distiller, data, steps=2, students=PROTOCOL, ckpt=None, more=(), trainer=None, **options):
    """Run with students of `mlp`; return the trainer, the export and the card of the exported set."""
    export = Export(folder, **options)
    callbacks = [*more, export]
    if students is not None:
        callbacks.insert(0, StudentEvaluation(students, 2, architectures=["mlp"], random_baseline=False, compile="off"))
    trainer = make_trainer(max_steps=steps, callbacks=callbacks, **(trainer or {}))
    trainer.fit(distiller, datamodule=data, ckpt_path=ckpt, weights_only=ckpt is not None)
    name = "best" if (folder / "best").is_dir() else "last"
    return trainer, export, read_set(folder / name)[1]


def test_a_better_set_has_its_gain_in_the_card(make_data, make_trainer, tmp_path, caplog):
    data = make_data(num_classes=3, size=12)
    with caplog.at_level("INFO"):
        trainer, export, card = fit(make_trainer, tmp_path, jump("real"), data, require_gain=True)
    gain = card["gain"]
    assert gain["measured"]
    assert gain["beats_start"]
    assert gain["mark"] is None
    assert gain == json.loads(json.dumps(export.gain.to_dict()))
    assert caplog.messages[-1] == gain["sentence"]
    assert "resemblance" not in card  # it began as noise
    assert card["sha256"] == read_set(tmp_path / "best")[1]["sha256"]
    assert json.loads((tmp_path / "best/card.json").read_text()) == card
    # the same by hand
    evaluator = trainer.callbacks[0].evaluator
    start = exported_set(jump("real").init_synthetic(data))
    picks = {name: coreset_sampler(name, data.train_arrays(), [3] * 3, data.spec, 0) for name in ("herding", "kmeans")}
    check = check_gain(
        read_set(tmp_path / "best")[0], start, picks, evaluator, data.val_dataloader(), init="noise"
    )  # fmt: skip
    assert json.loads(json.dumps(check.to_dict())) == gain


def test_a_worse_set_is_marked_and_never_replaced(make_data, make_trainer, tmp_path, caplog):
    with caplog.at_level("INFO"), pytest.raises(NoGainError, match="no better than 3 picked images a class"):
        fit(make_trainer, tmp_path, jump("noise"), make_data(num_classes=3, size=12), require_gain=True)
    data, card = read_set(tmp_path / "best")
    assert card["gain"]["mark"] == "no better than 3 picked images a class"
    assert caplog.messages[-1] == card["gain"]["sentence"]
    assert "Ways out: more steps, another method, or `lightning-distill coreset`" in card["gain"]["sentence"]
    near = card["resemblance"]
    assert near["start"]["correlation"]["max"] == pytest.approx(1, abs=1e-5)
    assert near["start"]["ssim"]["median"] == pytest.approx(1, abs=1e-5)
    assert near["set"]["correlation"]["max"] < near["held_out"]["correlation"]["max"] < 1
    assert near["set"]["images"] == len(data.labels)
    text = (tmp_path / "best/card.json").read_text().lower()
    assert not any(word in text for word in ("private", "anonym", "privacy"))


def test_a_run_that_changes_nothing_is_marked_without_an_error(make_data, make_trainer, tmp_path):
    distiller = DMDistiller(ipc=2, lr=0.0, network="convnet_w16", init="herding")
    _, export, card = fit(make_trainer, tmp_path, distiller, make_data(), students="tiny", monitor="val/balanced_acc")
    assert (export.gain.gain, export.gain.standard_error) == (0, 0)
    assert card["gain"]["metric"] == "balanced_acc"
    assert card["gain"]["yardsticks"]["herding"] == card["gain"]["yardsticks"]["start"]  # the same images
    assert card["gain"]["mark"] == "no better than 2 picked images a class"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"yardsticks": ()}, "turned off by yardsticks=()"),
        ({"students": None}, "the run has no StudentEvaluation"),
        ({"trainer": {"limit_val_batches": 0}}, "validation is off, limit_val_batches=0"),
        ({"trainer": {"limit_val_batches": 1}, "batch_size": 1}, "has 1 images or patients; an error needs 2"),
    ],
)
def test_what_is_not_measured_says_why(options, reason, make_data, make_trainer, tmp_path):
    data = make_data(batch_size=options.pop("batch_size", 16))
    options = {"students": "tiny", **options}
    distiller = DMDistiller(ipc=2, network="convnet_w16")
    _, export, card = fit(make_trainer, tmp_path / "a", distiller, data, **options)
    assert export.gain is None
    assert card["gain"] == {"measured": False, "reason": card["gain"]["reason"]}
    assert reason in card["gain"]["reason"]
    assert ("resemblance" in card) == (options.get("yardsticks") != ())
    distiller = DMDistiller(ipc=2, network="convnet_w16")
    with pytest.raises(ValueError, match="require_gain=True, but the gain cannot be measured: ") as error:
        fit(make_trainer, tmp_path / "b", distiller, data, require_gain=True, **options)
    assert reason in str(error.value)
    assert not (tmp_path / "b" / "last").exists()  # refused before the run


def test_the_other_set_and_a_stopped_run_say_that_nothing_was_compared(make_data, make_trainer, tmp_path):
    _, _, card = fit(make_trainer, tmp_path, jump("real"), make_data(), students="tiny", yardsticks=["start"])
    assert list(card["gain"]["yardsticks"]) == ["start"]
    assert card["gain"]["best_pick"] is None
    last = read_set(tmp_path / "last")[1]["gain"]
    assert last["measured"] is False
    assert "at the end of the run" in last["reason"]


def test_multi_label_sets_with_groups_and_few_validation_batches(make_trainer, tmp_path):
    random = np.random.default_rng(0)
    splits = []
    for count in (80, 40):
        targets = np.concatenate([np.tile([[0, 1], [1, 0], [1, 1]], (count // 4, 1)), np.zeros((count // 4, 2), int)])
        images = random.integers(0, 60, (len(targets), 8, 8)).astype(np.uint8)
        images[:, :4] += (120 * targets[:, :1, None]).astype(np.uint8)
        images[:, 4:] += (120 * targets[:, 1:, None]).astype(np.uint8)
        splits.append((images, targets))
    groups = {"train": [f"t{i}" for i in range(80)], "val": [f"v{i // 2}" for i in range(40)]}
    data = ArrayDataModule(
        *splits, min_combination=2, real_per_class=8, batch_size=8, groups=groups, augmentation="none"
    )
    _, _, card = fit(make_trainer, tmp_path, jump("real", ipc=2), data, trainer={"limit_val_batches": 3})
    assert (card["gain"]["images"], card["gain"]["groups"]) == (24, 12)
    assert card["gain"]["measured"]
    assert set(card["gain"]["yardsticks"]) == {"start", "herding", "kmeans"}


def test_sub_images_and_learned_labels(make_data, make_trainer, make_experts, tmp_path):
    data = make_data(size=16, per_class=20)
    distiller = DMDistiller(ipc=2, formation=2, network="convnet_w16", init="kmeans")
    _, export, card = fit(make_trainer, tmp_path / "dm", distiller, data, students="tiny")
    assert list(export.gain.counts) == [2, 2]
    assert card["resemblance"]["set"]["images"] == card["resemblance"]["start"]["images"] == 16
    assert card["resemblance"]["held_out"]["images"] == 12
    options = {"max_start": 1, "expert_epochs": 1, "syn_steps": 2, "lr": 0.0, "lr_lr": 0.0, "soft_lr": 0.0}
    distiller = MTTDistiller(
        ipc=2, experts=make_experts(data), network="convnet_w16", soft_labels=True, momentum=0.0, **options
    )  # fmt: skip
    _, export, card = fit(make_trainer, tmp_path / "mtt", distiller, data, students="tiny")
    assert read_set(tmp_path / "mtt/best")[0].soft_labels is not None
    assert export.gain.gain == export.gain.standard_error == 0  # the start has the same soft labels and rate


def test_a_resumed_run_has_the_same_entry(make_data, make_trainer, tmp_path):
    def distiller():
        return DMDistiller(ipc=2, lr=5.0, network="convnet_w16", seed=3)

    def run(folder, steps, ckpt=None):
        keep = ModelCheckpoint(tmp_path / folder / "ckpt", save_last=True, every_n_train_steps=2, save_top_k=-1)
        return fit(
            make_trainer, tmp_path / folder, distiller(), make_data(steps_per_epoch=2), steps, "tiny",
            ckpt=ckpt, more=[keep], trainer={"enable_checkpointing": True},
        )[2]  # fmt: skip

    whole = run("whole", 6)
    run("resumed", 4)
    resumed = run("resumed", 6, ckpt=str(tmp_path / "resumed/ckpt/last.ckpt"))
    assert whole["gain"]["measured"]
    assert resumed["gain"] == whole["gain"]
    assert resumed["resemblance"] == whole["resemblance"]


def test_the_random_streams_of_the_run_are_untouched(make_data, make_trainer, tmp_path):
    states = []
    for yardsticks in ((), ("start", "herding", "random")):
        torch.manual_seed(0)
        np.random.seed(0)
        fit(make_trainer, tmp_path / f"{len(yardsticks)}", jump("real"), make_data(), 1, "tiny", yardsticks=yardsticks)
        states.append((torch.get_rng_state(), np.random.get_state()[1].copy()))
    assert torch.equal(states[0][0], states[1][0])
    assert np.array_equal(states[0][1], states[1][1])


@pytest.mark.parametrize(
    ("yardsticks", "message"),
    [
        (["start", "hearding"], "unknown yardstick 'hearding'; use any of start, random, "),
        (["herding"], r"yardsticks=\['herding'\] lacks 'start'"),
    ],
)
def test_wrong_yardsticks_are_refused_at_once(yardsticks, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Export(tmp_path, yardsticks=yardsticks)


RUN = """
import sys
from lightning import Trainer
from lightning_distill import DigitsDataModule, DMDistiller, StudentEvaluation, SyntheticSetExport

folder, devices = sys.argv[1], int(sys.argv[2])
trainer = Trainer(
    max_steps=2, accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", logger=False,
    enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    callbacks=[StudentEvaluation("tiny", 3, architectures=["mlp"]), SyntheticSetExport(f"{folder}/{devices}")],
)
trainer.fit(DMDistiller(ipc=2, network="convnet_w16", seed=1), datamodule=DigitsDataModule(real_per_class=8))
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch has no torch.distributed")
def test_two_processes_measure_what_one_does(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    for devices in (1, 2):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(tmp_path / "run.py"), str(tmp_path), str(devices)],
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (read_set(tmp_path / str(devices) / "best")[1] for devices in (1, 2))
    assert two["gain"] == one["gain"]
    assert len(one["gain"]["seeds"]) == 3
    assert "resemblance" in two
