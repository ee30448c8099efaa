"""Distillation in the features of a frozen pretrained encoder."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_distill import DMDistiller, DSADistiller, SyntheticSetExport
from lightning_distill.functional.build import create_for_data
from lightning_distill.networks import resolve_networks

NAME = "test_efficientnet:32"


def digest_of(weights):
    return hashlib.sha256(Path(weights["test_efficientnet"]).read_bytes()).hexdigest()


def test_dm_matches_mean_features_of_the_pretrained_encoder(make_data, make_trainer, encoder_weights):
    data = make_data(num_classes=3)
    options = {"lr": 500.0, "momentum": 0.0, "augmentation": "none", "seed": 4}
    model = DMDistiller(ipc=2, network=NAME, weights=encoder_weights, **options)
    make_trainer(max_steps=2).fit(model, datamodule=data)
    (name,) = resolve_networks([NAME], encoder_weights)
    encoder = create_for_data(name, data.spec)  # one network for all steps, in evaluation mode
    images = model.init_synthetic(data).images.detach().clone().requires_grad_()
    for step in range(2):
        x, y = data.train_dataloader().batch(step)
        real = [encoder.embed(data.spec.normalize(x[y == c])).detach().mean(0) for c in range(3)]
        loss = sum((real[c] - encoder.embed(images[2 * c : 2 * c + 2]).mean(0)).square().sum() for c in range(3))
        images = (images - 500 * torch.autograd.grad(loss, images)[0]).detach().requires_grad_()
    torch.testing.assert_close(model.synthetic.images.detach(), images.detach(), rtol=1e-3, atol=1e-5)
    assert (images - model.init_synthetic(data).images).abs().max() > 1e-2


def test_checkpoints_cards_and_logs_hold_the_digest_and_never_the_path(
    make_data, make_trainer, encoder_weights, tmp_path
):
    data, out = make_data(), tmp_path / "out"
    callbacks = [SyntheticSetExport(str(out / "set"))]
    trainer = make_trainer(max_steps=1, callbacks=callbacks, logger=CSVLogger(str(out)), log_every_n_steps=1)
    trainer.fit(DMDistiller(ipc=1, network=NAME, weights=encoder_weights), datamodule=data)
    trainer.save_checkpoint(out / "last.ckpt")
    recorded = {"test_efficientnet": f"sha256:{digest_of(encoder_weights)}"}
    card = json.loads((out / "set" / "last" / "card.json").read_text())
    assert card["hyper_parameters"]["weights"] == recorded
    assert card["hyper_parameters"]["network"] == NAME
    assert torch.load(out / "last.ckpt", weights_only=True)["hyper_parameters"]["weights"] == recorded
    assert recorded["test_efficientnet"] in next(out.rglob("hparams.yaml")).read_text()
    for path in out.rglob("*"):
        assert path.is_dir() or b"telltale" not in path.read_bytes(), path


def test_a_resumed_run_equals_a_whole_one_and_needs_the_file(
    make_data, make_trainer, encoder_weights, tmp_path, monkeypatch
):
    options = {"ipc": 1, "network": NAME, "weights": encoder_weights}
    whole, half = DMDistiller(**options), DMDistiller(**options)
    make_trainer(max_steps=3).fit(whole, datamodule=make_data())
    trainer = make_trainer(max_steps=2)
    trainer.fit(half, datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = DMDistiller.load_from_checkpoint(tmp_path / "half.ckpt", weights=encoder_weights)
    make_trainer(max_steps=3).fit(resumed, datamodule=make_data(), ckpt_path=tmp_path / "half.ckpt")
    assert torch.equal(resumed.synthetic.images, whole.synthetic.images)
    monkeypatch.setattr("lightning_distill.networks.pretrained._LOADED", {})  # as in a new process
    alone = DMDistiller.load_from_checkpoint(tmp_path / "half.ckpt")  # the set can be read without the file
    assert torch.equal(alone.synthetic.images, half.synthetic.images)
    with pytest.raises(ValueError, match=r"weights of test_efficientnet:32@.* are not loaded; give weights="):
        make_trainer(max_steps=3).fit(alone, datamodule=make_data())


def test_gradient_matching_takes_a_pretrained_network(make_data, make_trainer, encoder_weights):
    model = DSADistiller(ipc=1, network=NAME, weights=encoder_weights)
    make_trainer(max_steps=1).fit(model, datamodule=make_data())
    assert model.synthetic.images.isfinite().all()
    assert model.hparams["weights"] == {"test_efficientnet": f"sha256:{digest_of(encoder_weights)}"}


def test_bad_weights_are_refused_at_once(encoder_weights):
    with pytest.raises(FileNotFoundError, match=r"no weights file none.pth"):
        DMDistiller(network=NAME, weights={"test_efficientnet": "none.pth"})
    with pytest.raises(ValueError, match="given for 'test_efficientnet', which is none of the networks convnet"):
        DMDistiller(weights=encoder_weights)
    assert "weights" not in DMDistiller(network="convnet_w16").hparams
