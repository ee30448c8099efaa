"""Distillation in the latent space of a generator: gradients, resuming, cards, and bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger

from lightning_distill import (
    ArrayDataModule,
    DigitsDataModule,
    DMDistiller,
    DSADistiller,
    GANGenerator,
    IDMDistiller,
    KRRDistiller,
    MTTDistiller,
    SyntheticSet,
    SyntheticSetExport,
    load_generator,
)
from lightning_distill.cli import main
from lightning_distill.distillers.latent import LatentSpace, untrained_generator, weights_digest
from lightning_distill.leakage.config import read_recipe
from lightning_distill.leakage.together import can_share
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.rng import derive_seed, isolated_rng

NET = "convnet_w16"


@pytest.fixture
def save_generator(tmp_path):
    """A function that trains a tiny generator for some steps on data, and returns the path of its checkpoint."""

    def save(data, steps: int = 2, generator=None, name: str = "gan") -> str:
        folder = tmp_path / "telltale"
        options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
        trainer = Trainer(max_steps=steps, limit_val_batches=0, enable_model_summary=False, **options)
        trainer.fit(generator or GANGenerator(widths=[16, 16], latent=8, batch_size=8), datamodule=data)
        trainer.save_checkpoint(folder / f"{name}.ckpt")
        return str(folder / f"{name}.ckpt")

    return save


@pytest.fixture
def make(make_experts):
    """A factory of methods with width-16 networks and few inner steps."""

    def build(method, data, **options):
        fixed = {
            DSADistiller: {"outer_loop": 5, "inner_loop": 1},
            IDMDistiller: {"queue_size": 3, "train_steps": 1, "trained_networks": 1},
            KRRDistiller: {"pool_size": 2, "lr_schedule": "constant"},
        }.get(method, {})
        if method is MTTDistiller:
            fixed = {"experts": make_experts(data, NET), "max_start": 2, "expert_epochs": 2, "syn_steps": 2}
        return method(**{"ipc": 2, "network": NET, "seed": 3, **fixed, **options})

    return build


METHODS = [DMDistiller, DSADistiller, MTTDistiller, KRRDistiller, IDMDistiller]


@pytest.mark.parametrize("trained", [False, True])
def test_a_step_follows_the_gradient_of_the_whole_graph(trained, make_data, make_trainer, save_generator):
    data = make_data(num_classes=3)
    latent = save_generator(data) if trained else "untrained"
    model = DMDistiller(ipc=2, network=NET, latent=latent, lr=3.0, momentum=0.0, augmentation="none", seed=4, pool=0)
    make_trainer(max_steps=1).fit(model, datamodule=data)
    generator = load_generator(latent) if trained else untrained_generator(data.spec, 4)
    features = model.init_synthetic(data).latents.clone().requires_grad_()
    spec, (x, y) = data.spec, data.train_dataloader().batch(0)
    images = spec.normalize(generator.spec.denormalize(generator.average.module.finish(features)))
    network = model.network
    with isolated_rng(derive_seed(4, 0)):
        parameters = network.init_params(torch.device("cpu"))
    embed = lambda rows: network.embed(parameters, rows)  # noqa: E731
    loss = sum(
        (embed(spec.normalize(x[y == c])).detach().mean(0) - embed(images[2 * c : 2 * c + 2]).mean(0)).square().sum()
        for c in range(3)
    )
    wanted = features.detach() - 3.0 * torch.autograd.grad(loss, features)[0]
    assert (wanted - features.detach()).abs().max() > 1e-4
    torch.testing.assert_close(model.synthetic.latents, wanted, rtol=1e-4, atol=1e-5)
    rendered = spec.normalize(generator.spec.denormalize(generator.from_middle(wanted)))
    torch.testing.assert_close(model.synthetic.images.detach(), rendered.detach(), rtol=1e-4, atol=1e-4)


def test_chunks_change_neither_images_nor_gradient(make_data):
    data = make_data(num_classes=3)
    data.setup("fit")
    sets = []
    for chunk in (1, 4, 100):
        synthetic = SyntheticSet(torch.arange(3).repeat_interleave(3), data.spec)
        space = LatentSpace("untrained", seed=1, chunk=chunk)
        space.start(synthetic)
        synthetic.images.grad = torch.randn(synthetic.images.shape, generator=torch.Generator().manual_seed(0))
        space.backpropagate(synthetic)
        assert synthetic.images.grad is None
        sets.append(synthetic)
    for other in sets[:-1]:
        torch.testing.assert_close(other.images, sets[-1].images)
        torch.testing.assert_close(other.latents.grad, sets[-1].latents.grad)
    assert sets[0].latents.abs().max() <= 10


def test_memory_holds_the_graph_of_one_chunk(make_data, monkeypatch):
    data, seen = make_data(), []
    data.setup("fit")
    synthetic = SyntheticSet(torch.arange(2).repeat_interleave(50), data.spec)
    space = LatentSpace("untrained", seed=1)
    images = LatentSpace.images
    monkeypatch.setattr(LatentSpace, "images", lambda *args: (seen.append(len(args[1])), images(*args))[1])
    space.start(synthetic)
    synthetic.images.grad = torch.ones_like(synthetic.images)
    space.backpropagate(synthetic)
    assert max(seen) == 32
    assert sum(seen) == 200


@pytest.mark.parametrize("method", METHODS, ids=lambda cls: cls.__name__)
def test_a_resumed_run_is_the_run_for_every_method(method, make, make_data, make_trainer, tmp_path):
    data = make_data()
    whole, first, second = (make(method, data, latent="untrained") for _ in range(3))
    make_trainer(max_steps=4).fit(whole, datamodule=data)
    trainer = make_trainer(max_steps=2)
    trainer.fit(first, datamodule=data)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    make_trainer(max_steps=4).fit(second, datamodule=data, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert torch.equal(whole.synthetic.latents, second.synthetic.latents)
    assert torch.equal(whole.synthetic.images, second.synthetic.images)
    moved = (whole.synthetic.images - whole.init_synthetic(data).images).abs().amax((1, 2, 3))
    assert (moved > 0).all()
    loaded = method.load_from_checkpoint(tmp_path / "half.ckpt", weights_only=True)
    assert torch.equal(loaded.synthetic.images, first.synthetic.images)


def test_soft_labels_and_learned_rate_are_learned_beside_the_features(make, make_data, make_trainer):
    data = make_data()
    model = make(MTTDistiller, data, latent="untrained", soft_labels=True, lr_lr=1e-6)
    make_trainer(max_steps=2).fit(model, datamodule=data)
    start = model.init_synthetic(data)
    assert not torch.equal(start.soft_label_logits, model.synthetic.soft_label_logits)
    assert model.synthetic.lr.item() != pytest.approx(0.01, rel=1e-6)
    assert not torch.equal(start.latents, model.synthetic.latents)


@pytest.mark.parametrize("kind", ["trained", "zero steps", "untrained"])
def test_cards_name_the_generator_and_no_file_holds_its_path(kind, make_data, make_trainer, save_generator, tmp_path):
    data, out = make_data(), tmp_path / "out"
    latent = "untrained" if kind == "untrained" else save_generator(data)
    callbacks = [SyntheticSetExport(str(out / "set"), yardsticks=())]
    trainer = make_trainer(max_steps=1, callbacks=callbacks, logger=CSVLogger(str(out)), log_every_n_steps=1)
    model = DMDistiller(ipc=1, network=NET, latent=latent)
    if kind == "zero steps":
        model.latent_space.generator._loaded_steps = 0
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(out / "last.ckpt")
    card = json.loads((out / "set" / "last" / "card.json").read_text())
    saw = kind == "trained"
    assert card["start"] == ("latent" if saw else "latent-untrained")
    assert card["latent"]["generator"] == "GANGenerator"
    assert card["latent"]["generator_saw_real_images"] is saw
    assert card["latent"]["training_steps"] == (2 if saw else 0)
    assert ("trained on training images" in card["warning"]) == saw
    assert ("saw no training image" in card["warning"]) != saw
    digest = card["latent"]["weights_sha256"]
    assert len(digest) == 64
    recorded = card["hyper_parameters"]["latent"]
    assert recorded == ("untrained" if kind == "untrained" else f"sha256:{digest}")
    assert len(card["training_images"]) == 1  # those of the generator are the same
    assert torch.equal(read_set(out / "set" / "last")[0].pixels, model.synthetic.pixels())
    for path in out.rglob("*"):
        assert path.is_dir() or b"telltale" not in path.read_bytes(), path


def test_hashes_of_the_generator_s_own_images_join_the_card(make_data, make_trainer, save_generator, tmp_path):
    latent = save_generator(make_data(per_class=20))
    data = make_data()
    callbacks = [SyntheticSetExport(str(tmp_path / "set"), yardsticks=())]
    trainer = make_trainer(max_steps=1, callbacks=callbacks)
    trainer.fit(DMDistiller(ipc=1, network=NET, latent=latent), datamodule=data)
    card = json.loads((tmp_path / "set" / "last" / "card.json").read_text())
    assert [entry["count"] for entry in card["training_images"]] == [24, 40]


def test_a_run_resumes_with_its_own_generator_alone(make_data, make_trainer, save_generator, tmp_path):
    data = make_data()
    latent, other = save_generator(data), save_generator(data, 3, name="other")
    options = {"ipc": 1, "network": NET}
    trainer = make_trainer(max_steps=1)
    trainer.fit(DMDistiller(**options, latent=latent), datamodule=data)
    path = tmp_path / "last.ckpt"
    trainer.save_checkpoint(path)
    for given, message in ((other, "generators differ"), (None, "with latent"), ("untrained", "generators differ")):
        lr = {} if given else {"lr": 10.0, "init": "noise", "formation": 1}
        with pytest.raises(ValueError, match=message):
            make_trainer(max_steps=2).fit(DMDistiller(**options, latent=given, **lr), datamodule=data, ckpt_path=path)
    loaded = DMDistiller.load_from_checkpoint(path, weights_only=True)
    make_trainer().validate(loaded, datamodule=data, verbose=False)
    with pytest.raises(ValueError, match="latent=PATH"):
        make_trainer(max_steps=2).fit(loaded, datamodule=data)
    again = DMDistiller.load_from_checkpoint(path, weights_only=True, latent=latent)
    make_trainer(max_steps=2).fit(again, datamodule=data)
    pixels = DMDistiller(**options, init="noise", formation=1, lr=10.0)
    trainer = make_trainer(max_steps=1)
    trainer.fit(pixels, datamodule=data)
    trainer.save_checkpoint(tmp_path / "pixels.ckpt")
    with pytest.raises(ValueError, match="without latent"):
        make_trainer(max_steps=2).fit(
            DMDistiller(**options, latent=latent), datamodule=data, ckpt_path=tmp_path / "pixels.ckpt"
        )


def test_generators_that_do_not_fit_are_refused_in_one_line(make_data, make_trainer, save_generator, tmp_path):
    data = make_data()
    latent = save_generator(data)
    for other in (make_data(num_classes=3), make_data(channels=3), make_data(size=12)):
        with pytest.raises(ValueError, match=r"differ in .*train a generator on these data") as caught:
            make_trainer(max_steps=1).fit(DMDistiller(ipc=1, network=NET, latent=latent), datamodule=other)
        assert "\n" not in str(caught.value)
    modulated = GANGenerator(widths=[16], latent=8, batch_size=8, conditioning="modulated")
    with pytest.raises(ValueError, match="no middle layer"):
        DMDistiller(ipc=1, latent=save_generator(data, 1, modulated, "modulated"))
    with pytest.raises(FileNotFoundError):
        DMDistiller(ipc=1, latent=str(tmp_path / "missing.ckpt"))
    (tmp_path / "text.ckpt").write_text("nothing")
    with pytest.raises(ValueError, match=r"text\.ckpt"):
        DMDistiller(ipc=1, latent=str(tmp_path / "text.ckpt"))
    with pytest.raises(ValueError, match="formation=2, but latent"):
        DMDistiller(ipc=1, latent="untrained", formation=2)
    with pytest.raises(ValueError, match="init='herding', but with latent"):
        DMDistiller(ipc=1, latent="untrained", init="herding")


def test_a_flow_is_refused_by_name(make_data, save_generator):
    pytest.importorskip("diffusers")
    from lightning_distill import FlowGenerator

    flow = FlowGenerator(widths=[16, 16], batch_size=8, sampling_steps=2)
    with pytest.raises(ValueError, match=r"is a FlowGenerator.* give the checkpoint of a GANGenerator"):
        DMDistiller(ipc=1, latent=save_generator(make_data(), 1, flow, "flow"))


def test_an_audit_refuses_a_generator_that_saw_all_images(make_data, save_generator):
    config = lambda latent: {  # noqa: E731
        "model": {"class_path": "DMDistiller", "init_args": {"ipc": 1, "network": NET, "latent": latent}},
        "trainer": {"max_steps": 1},
    }
    for latent in (save_generator(make_data()), "sha256:" + "0" * 64):
        with pytest.raises(ValueError, match="latent=untrained"):
            read_recipe(config(latent))
    assert not can_share(read_recipe(config("untrained")))
    assert can_share(read_recipe(config(None)))


def test_the_command_line_loads_a_generator_and_refuses_a_missing_one(save_generator, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    data = DigitsDataModule(real_per_class=8)
    words = ["--data=DigitsDataModule", "--data.real_per_class=8", "--trainer.max_steps=1", "--trainer.accelerator=cpu"]
    words += ["--trainer.logger=false", "--students=0", "--no_export", "--trainer.limit_val_batches=0"]
    main(
        [
            "fit",
            "--model=dm",
            "--model.ipc=1",
            f"--model.network={NET}",
            f"--model.latent={save_generator(data)}",
            *words,
        ]
    )
    with pytest.raises(SystemExit):
        main(["fit", "--model=dm", "--model.ipc=1", "--model.latent=absent.ckpt", *words])
    assert "no checkpoint 'absent.ckpt'" in capfd.readouterr().err


def test_rates_are_those_of_the_generator_unless_given(make_data, save_generator):
    latent = save_generator(make_data())
    assert DMDistiller(ipc=1, latent=latent).lr == 10
    assert DMDistiller(ipc=1, latent="untrained").lr == pytest.approx(3)
    assert DSADistiller(ipc=1, latent=latent).lr == 1
    assert DMDistiller(ipc=1, latent="untrained", lr=0.5).lr == 0.5
    assert KRRDistiller(ipc=1, latent="untrained").lr == KRRDistiller(ipc=1).lr


def test_an_untrained_generator_has_unit_scale_and_detail(make_data):
    data = make_data(size=28)
    data.setup("fit")
    first, again, other = (untrained_generator(data.spec, seed) for seed in (0, 0, 1))
    features = first.middle(torch.randn(128, 64), torch.arange(128) % 2)
    images = first.from_middle(features)
    assert 0.8 < features.std() < 1.2
    assert 0.8 < images.std() < 1.2
    small = torch.nn.functional.avg_pool2d(images, 4)
    smooth = torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear", align_corners=False)
    assert (images - smooth).std() > 0.2
    digests = [weights_digest(generator) for generator in (first, again, other)]
    assert digests[0] == digests[1] != digests[2]


def test_gradient_clip_bounds_the_gradient_of_the_features(make_data, make_trainer):
    data = make_data()
    model = DMDistiller(ipc=1, network=NET, latent="untrained", lr=1.0, momentum=0.0, gradient_clip=1e-3)
    make_trainer(max_steps=1).fit(model, datamodule=data)
    moved = (model.synthetic.latents - model.init_synthetic(data).latents).norm()
    assert float(moved) == pytest.approx(1e-3, rel=0.02)


def test_label_combinations_of_multi_label_data_work(make_trainer):
    random = np.random.default_rng(0)
    targets = np.tile(np.array([[0, 0], [1, 0], [1, 1]]), (8, 1))
    images = random.integers(0, 255, (24, 8, 8), dtype=np.uint8)
    splits = [(images, targets)] * 3
    data = ArrayDataModule(*splits, name="findings", min_combination=3, real_per_class=8, augmentation="dsa_noflip")
    model = DMDistiller(ipc=2, network=NET, latent="untrained")
    make_trainer(max_steps=1).fit(model, datamodule=data)
    assert model.synthetic.images.isfinite().all()
    assert len(model.synthetic.latents) == 6
