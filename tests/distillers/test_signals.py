"""DM over a pool of networks, and from signal banks without any real image."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lightning_distill import DMDistiller, IDMDistiller, StudentEvaluation, SyntheticSetExport
from lightning_distill.distillers import dm
from lightning_distill.objectives.embedding import EMBEDDING_DISTANCES
from lightning_distill.sets.storage import read_set
from lightning_distill.signals import SignalBank, SignalsDataModule, merge_banks, write_bank

OBJECTIVES = ["mean", "moments", "characteristic", "mmd"]


def fit(trainer, distiller, data=None):
    trainer.fit(distiller, datamodule=data)
    return distiller.synthetic.images.detach().clone()


def test_every_objective_has_a_form_that_adds_up():
    assert [*EMBEDDING_DISTANCES] == OBJECTIVES


@pytest.mark.parametrize("pool_images", ["batch", "all"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_pool_is_filled_once_and_the_images_move(objective, pool_images, make_data, make_trainer):
    data = make_data(num_classes=3)
    distiller = DMDistiller(ipc=2, network="convnet_w16", pool=2, pool_images=pool_images, objective=objective)
    asked = []
    trainer = make_trainer(max_steps=5)
    data.setup()
    take = distiller._real_chunks
    distiller._real_chunks = lambda real: asked.append(distiller.global_step) or take(real)
    images = fit(trainer, distiller, data)
    assert asked == [0, 1]
    assert images.isfinite().all()
    assert distiller.extra_state["signals.counts"].tolist() == [[12.0 if pool_images == "all" else 8.0] * 3] * 2


def test_first_step_of_a_pool_with_the_mean_is_a_step_of_dm_in_that_network(make_data, make_trainer):
    """The value is re-derived from the means of real and synthetic embeddings, class by class."""
    data = make_data(num_classes=3)
    distiller = DMDistiller(ipc=2, network="convnet_w16", pool=4, pool_images="all", formation=1)
    trainer = make_trainer(max_steps=1)
    trainer.fit(distiller, datamodule=data)
    start = distiller.init_synthetic(data)
    draws, (images, labels) = distiller.signals.draws, data.train_arrays()
    parameters, expected = draws.parameters(0, distiller.network), 0.0
    for label in range(3):
        (seed,) = draws.class_seeds(0, [label])
        real = data.spec.normalize(torch.from_numpy(images[labels == label]))
        both = [real, start.images[start.labels == label].detach()]
        means = [
            distiller.network.embed(parameters, distiller.augment.of_classes(x, [len(x)], [seed])).mean(0) for x in both
        ]
        expected += (means[0] - means[1]).square().sum().item()
    assert trainer.callback_metrics["distill/loss"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_bank_of_all_images_gives_the_images_of_a_filled_pool(objective, make_data, make_trainer):
    data = make_data(num_classes=3)
    options = {"ipc": 2, "network": "convnet_w16", "init": "noise", "formation": 1}
    pool = DMDistiller(pool=2, pool_images="all", objective=objective, **options)
    expected = fit(make_trainer(max_steps=5), pool, data)
    (bank,) = SignalBank.compute(data, draws=2, network="convnet_w16", objective=objective, compile="off")
    banked = DMDistiller(ipc=2, formation=1, signals=[bank])
    torch.testing.assert_close(fit(make_trainer(max_steps=5), banked), expected, rtol=1e-3, atol=1e-4)


def test_merged_banks_give_the_images_of_the_pooled_data(make_data, make_trainer):
    data = make_data(num_classes=3)
    masks = torch.arange(36) % 3 == torch.arange(3)[:, None]
    sites = SignalBank.compute(data, draws=3, masks=masks, network="convnet_w16", compile="off")
    (whole,) = SignalBank.compute(data, draws=3, network="convnet_w16", compile="off")
    made = [fit(make_trainer(max_steps=6), DMDistiller(ipc=1, signals=banks)) for banks in (sites, [whole])]
    torch.testing.assert_close(made[0], made[1], rtol=1e-3, atol=1e-4)


def test_files_and_the_data_module_are_ways_to_the_same_images(make_data, make_trainer, tmp_path):
    data = make_data()
    (bank,) = SignalBank.compute(data, draws=2, network="convnet_w16", compile="off")
    path = str(write_bank(tmp_path / "site.safetensors", bank))
    one = fit(make_trainer(max_steps=3), DMDistiller(ipc=1, signals=[path]))
    other = fit(make_trainer(max_steps=3), DMDistiller(ipc=1), SignalsDataModule(path))
    assert torch.equal(one, other)


def test_the_coordinators_images_validate_and_the_card_tells_of_the_banks(make_data, make_trainer, tmp_path):
    data = make_data()
    (bank,) = SignalBank.compute(data, draws=2, network="convnet_w16", train_steps=1, compile="off")
    raw = data.splits["val"]
    coordinator = SignalsDataModule([bank], val=(raw[0], raw[1]))
    students = StudentEvaluation("tiny", students=2, architectures=["convnet_w16"], random_baseline=False)
    trainer = make_trainer(max_steps=2, callbacks=[students, SyntheticSetExport(str(tmp_path / "set"))])
    trainer.fit(DMDistiller(ipc=1), datamodule=coordinator)
    assert 0 <= trainer.callback_metrics["val/acc"] <= 1
    card = read_set(tmp_path / "set" / "last")[1]
    assert card["start"] == "noise"
    assert "have seen the data" in card["signals"]["networks"]
    assert card["signals"]["seed"] == 0
    assert str(tmp_path) not in str(card)


@pytest.mark.parametrize(
    ("options", "pool"),
    [
        ({}, 100),
        ({"preset": "paper"}, 0),
        ({"preset": "paper", "pool": 2}, 2),
        ({"pool": 0}, 0),
        ({"objective": "mmd"}, 0),
        ({"objective": "mmd", "pool": 2}, 2),
        ({"network": "convnet_batch_w16"}, 0),
    ],
    ids=str,
)
def test_a_preset_has_a_pool_where_its_networks_are_those_of_the_method(options, pool, make_data, make_trainer):
    distiller = DMDistiller(**{"ipc": 1, "network": "convnet_w16", **options})
    fit(make_trainer(max_steps=1), distiller, make_data())
    assert distiller.pool_size == distiller.hparams["pool"] == pool
    assert (distiller.signals is not None) == (pool > 0)


@pytest.mark.parametrize(("draws", "pool"), [(1000, 100), (40, 40), (29, 0)])
def test_a_preset_has_a_smaller_pool_where_its_statistics_are_large(draws, pool, make_data, make_trainer, monkeypatch):
    monkeypatch.setattr(dm, "POOL_BYTES", draws * 4 * 3 * 16)  # three classes of 16 features
    distiller = DMDistiller(ipc=1, network="convnet_w16")
    fit(make_trainer(max_steps=1), distiller, make_data(num_classes=3))
    assert distiller.network.num_features(distiller.synthetic.spec.shape) == 16
    assert distiller.pool_size == pool


class SameNetwork(DMDistiller):
    def surrogate(self):
        torch.manual_seed(0)
        return super().surrogate()


class OwnLosses(DMDistiller):
    def losses(self, real):
        yield self.synthetic.images.square().sum()


@pytest.mark.parametrize("method", [SameNetwork, OwnLosses])
def test_networks_and_losses_of_a_subclass_are_not_replaced_by_a_pool(method, make_data, make_trainer):
    fit(make_trainer(max_steps=1), own := method(ipc=1, network="convnet_w16"), make_data())
    assert own.signals is None
    assert own.hparams["pool"] == 0


@pytest.mark.parametrize("saved", [None, 0, 3])
def test_a_run_goes_on_with_the_pool_of_its_checkpoint(saved, make_data, make_trainer, tmp_path):
    """Version 0.1.0 wrote None for a new network every step, which the preset's pool does not replace."""
    options = {"ipc": 1, "network": "convnet_w16", "formation": 1}
    whole = fit(make_trainer(max_steps=5), DMDistiller(**options, pool=saved or 0), make_data())
    trainer = make_trainer(max_steps=2)
    trainer.fit(DMDistiller(**options, pool=saved or 0), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    state = torch.load(tmp_path / "two.ckpt", weights_only=True)
    state["hyper_parameters"]["pool"] = saved
    torch.save(state, tmp_path / "old.ckpt")
    resumed = DMDistiller(**options)
    path = tmp_path / "old.ckpt"
    make_trainer(max_steps=5).fit(resumed, datamodule=make_data(), ckpt_path=path, weights_only=True)
    assert torch.equal(resumed.synthetic.images, whole)
    assert resumed.pool_size == (saved or 0)
    with pytest.raises(ValueError, match=f"pool={saved or 0}"):
        make_trainer(max_steps=5).fit(
            DMDistiller(**options, pool=7), datamodule=make_data(), ckpt_path=path, weights_only=True
        )


@pytest.mark.parametrize("pool_images", ["batch", "all"])
def test_a_resumed_pool_makes_the_same_images(pool_images, make_data, make_trainer, tmp_path):
    options = {"ipc": 1, "network": "convnet_w16", "pool": 3, "pool_images": pool_images, "formation": 1}
    whole = fit(make_trainer(max_steps=7), DMDistiller(**options), make_data())
    trainer = make_trainer(max_steps=2)
    trainer.fit(DMDistiller(**options), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    resumed = DMDistiller(**options)
    make_trainer(max_steps=7).fit(resumed, datamodule=make_data(), ckpt_path=tmp_path / "two.ckpt", weights_only=True)
    assert torch.equal(resumed.synthetic.images, whole)


def test_a_resumed_run_on_other_banks_is_refused(make_data, make_trainer, tmp_path):
    banks = [SignalBank.compute(make_data(), draws=d, network="convnet_w16", compile="off")[0] for d in (2, 3)]
    trainer = make_trainer(max_steps=1)
    trainer.fit(DMDistiller(ipc=1, signals=[banks[0]]))
    trainer.save_checkpoint(tmp_path / "one.ckpt")
    with pytest.raises(ValueError, match="pool=2"):
        make_trainer(max_steps=2).fit(
            DMDistiller(ipc=1, signals=[banks[1]]), ckpt_path=tmp_path / "one.ckpt", weights_only=True
        )
    assert str(tmp_path).encode() not in (tmp_path / "one.ckpt").read_bytes()


def test_bad_input_is_named_before_work_begins(make_data, make_trainer):
    data = make_data()
    (bank,) = SignalBank.compute(data, draws=2, network="convnet_w16", compile="off")
    for options, message in (
        ({"pool": -1}, "pool=-1; it must be an integer of at least 0"),
        ({"pool_images": "some"}, "pool_images"),
        ({"signals": [bank], "init": "real"}, "init='real', but signal banks hold no real images"),
        ({"signals": [bank], "pool": 5}, "pool=5, but the bank has 2 draws"),
        ({"signals": []}, "no bank to merge"),
        ({"signals": ["nowhere.safetensors"]}, "nowhere.safetensors does not exist"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            DMDistiller(ipc=1, network="convnet_w16", **options)
    with pytest.raises(ValueError, match="batch norm"):
        make_trainer(max_steps=1).fit(DMDistiller(ipc=1, network="convnet_batch", pool=2), datamodule=data)
    foreign = replace(bank, fingerprints=("0" * 16, "1" * 16))
    with pytest.raises(ValueError, match="seed of draw 0 gives another network"):
        make_trainer(max_steps=1).fit(DMDistiller(ipc=1, signals=[foreign]))
    empty = replace(bank, counts=bank.counts * torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="no images of the class '1'"):
        DMDistiller(ipc=1, signals=[empty])
    with pytest.raises(ValueError, match="differ in mean"):
        merge_banks([bank, replace(bank, spec=replace(bank.spec, mean=(0.0,)))])
    with pytest.raises(ValueError, match="those of the banks"):
        SignalsDataModule([bank], val=_raw(make_data(size=16))).setup()
    with pytest.raises(ValueError, match="signal banks hold no images to audit"):
        SignalsDataModule([bank]).load_splits()
    with pytest.raises(TypeError, match="pool"):
        IDMDistiller(ipc=1, network="convnet_w16", pool=2)


def _raw(data):
    data.setup()
    return data.splits["val"]
