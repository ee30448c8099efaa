"""A checkpoint of other settings or data is refused by name, or goes on with both in the card."""

from __future__ import annotations

import pytest
import torch

from lightning_distill import DCDistiller, DistillCheckpoint, DMDistiller, SyntheticSetExport
from lightning_distill.sets.storage import read_set

OPTIONS = {"ipc": 1, "network": "convnet_w16", "lr": 2.0, "init": "real", "formation": 1, "seed": 0}


@pytest.fixture
def resume(make_data, make_trainer, tmp_path):
    """Distil two steps, and go on to four with changed options."""

    def go(method=DMDistiller, data=None, allowed=False, **changes):
        checkpoint = DistillCheckpoint(tmp_path / "ckpt", monitor=None)
        trainer = make_trainer(max_steps=2, callbacks=[checkpoint], enable_checkpointing=True, limit_val_batches=0)
        trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data(steps_per_epoch=4))
        distiller = method(**{**OPTIONS, **changes})
        distiller.resume_with_changes = allowed
        export = SyntheticSetExport(tmp_path / "set", yardsticks=())
        trainer = make_trainer(max_steps=4, callbacks=[export], limit_val_batches=0)
        datamodule = data or make_data(steps_per_epoch=4)
        trainer.fit(distiller, datamodule=datamodule, ckpt_path=tmp_path / "ckpt" / "last.ckpt", weights_only=True)
        return distiller, read_set(tmp_path / "set" / "last")[1]

    return go


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, r"seed=0 \(now 1\)"),
        ({"lr": 3.0}, r"lr=2.0 \(now 3.0\)"),
        ({"momentum": 0.0}, r"momentum=0.5 \(now 0.0\)"),
        ({"network": "convnet_w32"}, r"network='convnet_w16' \(now 'convnet_w32'\)"),
        ({"augmentation": "dsa", "gradient_clip": 1.0}, r"augmentation=None .*gradient_clip=None \(now 1.0\)"),
        ({"preset": "paper"}, r"preset='default' \(now 'paper'\)"),
    ],
)
def test_other_settings_are_refused_by_name(resume, changes, message):
    with pytest.raises(ValueError, match=f"the checkpoint was made with {message}; .*--resume_with_changes true"):
        resume(**changes)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ipc": 2}, r"ipc=1 \(now 2\)"),
        ({"init": "noise"}, r"init='real' \(now 'noise'\)"),
        ({"method": DCDistiller}, r"method='DMDistiller' \(now 'DCDistiller'\)"),
    ],
)
def test_what_made_the_set_never_changes(resume, changes, message, allowed):
    with pytest.raises(ValueError, match=f"{message}, which cannot change within a run"):
        resume(allowed=allowed, **changes)


def test_other_data_are_refused_by_name(resume, make_data):
    with pytest.raises(ValueError, match=r"data seed=0 \(now 5\), data real_per_class=8 \(now 4\)"):
        resume(data=make_data(seed=5, real_per_class=4, steps_per_epoch=4))
    with pytest.raises(ValueError, match=r"data training images=24 \(now 20\)"):
        resume(data=make_data(per_class=10, steps_per_epoch=4))


def test_other_pixels_of_the_same_size_are_refused(resume, make_data):
    data = make_data(steps_per_epoch=4)
    data.setup()
    data.splits["train"][0][0] = 255 - data.splits["train"][0][0]
    with pytest.raises(ValueError, match="data images='"):
        resume(data=data)


def test_same_settings_and_speed_options_are_accepted(resume):
    distiller, card = resume(chunk=2, compile="off")
    assert distiller.changes == []
    assert "resumed_with_changes" not in card


def test_values_that_were_not_given_are_taken_over(resume):
    distiller, card = resume(lr=None, init=None, formation=None)
    assert (distiller.lr, distiller.init, distiller.formation) == (2.0, "real", 1)
    assert card["hyper_parameters"]["lr"] == 2.0


def test_asked_for_changes_hold_and_the_card_lists_both(resume):
    distiller, card = resume(allowed=True, lr=3.0, momentum=0.25, seed=4)
    assert card["hyper_parameters"]["lr"] == 3.0
    assert card["resumed_with_changes"] == [
        {
            "step": 2,
            "before": {"lr": 2.0, "momentum": 0.5, "seed": 0},
            "after": {"lr": 3.0, "momentum": 0.25, "seed": 4},
        }
    ]
    (group,) = distiller.trainer.optimizers[0].param_groups
    assert (group["lr"], group["initial_lr"], group["momentum"]) == (3.0, 3.0, 0.25)


def test_a_changed_rate_is_the_one_of_the_next_step(resume, make_data, make_trainer, tmp_path):
    """Without momentum a step moves the images by lr times the gradient, so twice the lr moves them twice as far."""
    base = DMDistiller(**{**OPTIONS, "momentum": 0.0})
    trainer = make_trainer(max_steps=2, limit_val_batches=0)
    trainer.fit(base, datamodule=make_data(steps_per_epoch=4))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    start = torch.load(tmp_path / "a.ckpt", weights_only=True)["state_dict"]["synthetic.images"]
    moved = []
    for lr in (2.0, 4.0):
        distiller = DMDistiller(**{**OPTIONS, "momentum": 0.0, "lr": lr})
        distiller.resume_with_changes = True
        make_trainer(max_steps=3, limit_val_batches=0).fit(
            distiller, datamodule=make_data(steps_per_epoch=4), ckpt_path=tmp_path / "a.ckpt", weights_only=True
        )
        moved.append(distiller.synthetic.images.detach() - start)
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=1e-3, atol=1e-6)
