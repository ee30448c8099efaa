from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from reference.distribution_matching import mean_embedding_distance as reference

from lightning_distill import ArrayDataModule, DMDistiller
from lightning_distill.distillers._sharding import ClassShardingMixin
from lightning_distill.networks import create_network
from lightning_distill.utils.rng import derive_seed


def mean_distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    return ((real.mean(0) - synthetic.mean(0)) ** 2).sum()


def plain_dm(data, ipc: int, steps: int, network: str, seed: int, distance=mean_distance, lr: float = 1.0):
    """DM without augmentation, class by class, in eager float32, written from the protocol."""
    spec, draws = data.spec, data.train_dataloader()
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (spec.mean, spec.std))
    images = (
        DMDistiller(preset="paper", ipc=ipc, network=network, seed=seed)
        .init_synthetic(data)
        .images.detach()
        .clone()
        .requires_grad_()
    )
    velocity = torch.zeros_like(images)
    for step in range(steps):
        x, y = draws.batch(step)
        x = (x.float() - mean) / std
        torch.manual_seed(derive_seed(seed, step))
        net = create_network(network, spec.shape[0], spec.num_classes, spec.shape[1:])
        loss = torch.zeros(())
        for c in range(spec.num_classes):
            real = net.embed(x[y == c]).detach()
            synthetic = net.embed(images[c * ipc : (c + 1) * ipc])
            torch.manual_seed(derive_seed(seed, step, c, "objective"))
            loss = loss + distance(real, synthetic)
        (gradient,) = torch.autograd.grad(loss, images)
        velocity = 0.5 * velocity + gradient
        images = (images - lr * velocity).detach().requires_grad_()
    return images.detach()


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_a_plain_implementation_step_by_step(channels, make_data, make_trainer):
    distiller = DMDistiller(preset="paper", ipc=2, network="convnet_w16", augmentation="none", seed=4)
    data = make_data(num_classes=3, channels=channels)
    make_trainer(max_steps=4).fit(distiller, datamodule=data)
    expected = plain_dm(data, 2, 4, "convnet_w16", 4)
    torch.testing.assert_close(distiller.synthetic.images.detach(), expected, rtol=1e-4, atol=1e-5)
    assert (distiller.synthetic.images - distiller.init_synthetic(data).images).abs().max() > 1e-3


def complex_distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    t = torch.randn(1024, real.shape[1])
    phi = [torch.polar(torch.ones(len(x), 1024), (x / x.norm(dim=1, keepdim=True)) @ t.T).mean(0)
           for x in (real, synthetic)]  # fmt: skip
    return 300 * ((phi[0] - phi[1]).abs().square() / 2).sqrt().mean()


def kernel_distance(real: torch.Tensor, synthetic: torch.Tensor) -> torch.Tensor:
    both = torch.cat([real, synthetic])
    h = (both[:, None] - both).square().sum(-1).detach().sum() / (len(both) * (len(both) - 1))

    def mean(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        square = (a[:, None] - b).square().sum(-1)
        return torch.stack([torch.exp(-square / (w * h)) for w in (0.25, 0.5, 1, 2, 4)]).mean()

    return h * (mean(real, real) + mean(synthetic, synthetic) - 2 * mean(real, synthetic))


@pytest.mark.parametrize(
    ("objective", "distance", "lr"), [("characteristic", complex_distance, 1e-3), ("mmd", kernel_distance, 1.0)]
)
def test_other_objectives_equal_a_plain_implementation_step_by_step(objective, distance, lr, make_data, make_trainer):
    options = {"network": "convnet_w16", "augmentation": "none", "seed": 4, "objective": objective}
    distiller = DMDistiller(preset="paper", ipc=2, lr=lr, **options)
    data = make_data(num_classes=3)
    make_trainer(max_steps=3).fit(distiller, datamodule=data)
    expected = plain_dm(data, 2, 3, "convnet_w16", 4, distance, lr)
    torch.testing.assert_close(distiller.synthetic.images.detach(), expected, rtol=1e-4, atol=1e-4)
    assert (distiller.synthetic.images - distiller.init_synthetic(data).images).abs().max() > 3e-3


def test_logged_loss_is_the_sum_over_classes(make_data, make_trainer):
    data = make_data()
    distiller = DMDistiller(preset="paper", ipc=2, network="convnet_w16", augmentation="none")
    trainer = make_trainer(max_steps=1)
    trainer.fit(distiller, datamodule=data)
    x, y = data.train_dataloader().batch(0)
    torch.manual_seed(derive_seed(0, 0))
    net = create_network("convnet_w16", 1, 2, (8, 8))
    begun = distiller.init_synthetic(data)
    with torch.no_grad():
        x = data.spec.normalize(x)
        expected = sum(reference(net.embed(x[y == c]).double(), net.embed(begun.of_class(c)).double()) for c in (0, 1))
    assert trainer.callback_metrics["distill/loss"].item() == pytest.approx(expected, rel=1e-4)


def test_batch_norm_sees_all_classes_in_one_forward(make_data, make_trainer, monkeypatch):
    distiller = DMDistiller(preset="paper", ipc=2, network="convnet_batch")
    rows = []
    trainer = make_trainer(max_steps=1)
    original = DMDistiller.configure_network

    def spy(self, datamodule):
        original(self, datamodule)
        embed = self.network.embed
        self.network.embed = lambda p, x: rows.append(len(x)) or embed(p, x)

    monkeypatch.setattr(DMDistiller, "configure_network", spy)
    trainer.fit(distiller, datamodule=make_data(num_classes=3))
    assert rows == [3 * 8, 3 * 2]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"augmentation": "none"},
        {"network": "convnet_batch"},
        {"objective": "characteristic", "lr": 1e-4},
        {"objective": "mmd"},
    ],
    ids=str,
)
def test_chunks_change_nothing(options, make_data, make_trainer):
    images = []
    for chunk in (1, 5, 16, None):
        distiller = DMDistiller(
            preset="paper", **{"ipc": [2, 1, 3], "network": "convnet_w16", "chunk": chunk, "seed": 4, **options}
        )
        make_trainer(max_steps=3).fit(distiller, datamodule=make_data(num_classes=3))
        images.append(distiller.synthetic.images.detach())
    for other in images[1:]:
        torch.testing.assert_close(other, images[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("world", [1, 2, 3, 8])
@pytest.mark.parametrize("chunk", [None, 1, 5, 16, 1000])
@pytest.mark.parametrize("counts", [[4], [8] * 2, [1, 2, 3], [50] * 7, [1] * 100, [3, 1, 40, 2, 2]], ids=len)
def test_groups_hold_every_class_once_and_no_more_than_a_chunk(counts, chunk, world, batch_norm):
    seen = []
    for rank in range(world):
        network = SimpleNamespace(chunk=None if batch_norm else chunk, batch_norm=batch_norm)
        module = SimpleNamespace(network=network, global_rank=rank, trainer=SimpleNamespace(world_size=world))
        groups = ClassShardingMixin.class_groups(module, counts)
        for group in groups:
            assert group
            images = sum(counts[label] for label in group)
            assert batch_norm or chunk is None or images <= chunk or len(group) == 1
            assert batch_norm or all(label % world == rank for label in group)
        seen += groups
    assert sorted(label for group in seen for label in group) == list(range(len(counts)))
    if batch_norm:
        assert len(seen) == 1


def test_timm_network_and_bf16(make_data, make_trainer):
    distiller = DMDistiller(preset="paper", ipc=1, network="test_resnet")
    make_trainer(max_steps=2, precision="bf16-mixed").fit(distiller, datamodule=make_data(channels=3))
    assert distiller.synthetic.images.dtype == torch.float32
    assert distiller.synthetic.images.isfinite().all()


def test_same_seed_same_images_other_seed_others(make_data, make_trainer):
    images = []
    for seed in (1, 1, 2):
        distiller = DMDistiller(preset="paper", ipc=1, network="convnet_w16", seed=seed)
        make_trainer(max_steps=2).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach().clone())
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_runs_do_not_touch_the_users_random_stream(make_data, make_trainer):
    distiller, trainer, data = (
        DMDistiller(preset="paper", ipc=1, network="convnet_w16"),
        make_trainer(max_steps=2),
        make_data(),
    )
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    trainer.fit(distiller, datamodule=data)
    assert torch.equal(torch.rand(3), expected)


def test_gradient_clip_and_cosine_schedule_take_hold(make_data, make_trainer):
    plain, clipped = (
        DMDistiller(preset="paper", ipc=1, network="convnet_w16", gradient_clip=g, momentum=0.0) for g in (None, 1e-3)
    )
    cosine = DMDistiller(preset="paper", ipc=1, network="convnet_w16", lr_schedule="cosine")
    for distiller in (plain, clipped, cosine):
        make_trainer(max_steps=1 if distiller is not cosine else 4).fit(distiller, datamodule=make_data())
    moved = (clipped.synthetic.images - clipped.init_synthetic(make_data()).images).norm()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)
    assert (plain.synthetic.images - plain.init_synthetic(make_data()).images).norm() > 1e-2
    assert cosine.trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("start", ["real", "noise", "kmeans", "herding", "kcenter"])
def test_every_start(start, make_data, make_trainer):
    distiller = DMDistiller(preset="paper", ipc=3, network="convnet_w16", init=start)
    make_trainer(max_steps=1).fit(distiller, datamodule=make_data())
    assert len(distiller.synthetic) == 6


def refused(make_trainer, data, match, error=ValueError, precision="32-true", **options):
    with pytest.raises(error, match=match):
        make_trainer(max_steps=1, precision=precision).fit(
            DMDistiller(preset="paper", **{"network": "convnet_w16", "ipc": 1, **options}), datamodule=data
        )


def test_bad_input_names_the_value_and_the_way_out(make_data, make_trainer):
    refused(make_trainer, make_data(), r"ipc=0", ipc=0)
    refused(make_trainer, make_data(), r"ipc=\[2, -1\]", ipc=[2, -1])
    refused(make_trainer, make_data(), r"class '0' has 12 training images, ipc=50 needs 50; lower ipc", ipc=50)
    refused(make_trainer, make_data(), r"3 numbers but blobs has 2 classes", ipc=[1, 1, 1])
    refused(make_trainer, make_data(), r"unknown network 'convnett'; closest names: .*convnet", network="convnett")
    refused(make_trainer, make_data(), r"unknown augmentation 'dsaa'; use one of dsa", augmentation="dsaa")
    refused(
        make_trainer,
        make_data(),
        r"unknown objective 'max'; use one of mean, moments, characteristic, mmd",
        objective="max",
    )
    refused(make_trainer, make_data(), r"unknown init 'zeros'; use one of real", init="zeros")
    refused(make_trainer, make_data(), r"unknown on_small_class 'skip'", on_small_class="skip")
    refused(make_trainer, None, r"BalancedDataModule", TypeError)
    images, labels = make_data().train_arrays()
    many = ArrayDataModule((images[:, 0], torch.nn.functional.one_hot(torch.tensor(labels), 3).numpy()),
                           min_combination=99)  # fmt: skip
    refused(make_trainer, many, r"0 combinations of labels have images enough to be distilled")


def test_float16_is_refused_with_bf16_offered(make_data):
    from lightning_distill.distillers._validation import validate_data

    with pytest.raises(ValueError, match=r"16-mixed.*bf16-mixed"):
        validate_data(make_data().spec, "16-mixed", None)


def test_small_classes_repeat_or_take_fewer(make_data, make_trainer):
    for policy, count in (("repeat", 20), ("fewer", 12)):
        distiller = DMDistiller(preset="paper", ipc=20, network="convnet_w16", on_small_class=policy)
        make_trainer(max_steps=1).fit(distiller, datamodule=make_data())
        assert distiller.synthetic.counts == [count, count]


def test_nan_loss_stops_with_the_step_and_keeps_the_checkpoint(make_data, make_trainer, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Diverging(DMDistiller):
        def losses(self, real):
            for loss in super().losses(real):
                yield loss * (float("nan") if self.global_step == 2 else 1.0)

    keep = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_last=True)
    distiller = Diverging(preset="paper", ipc=1, network="convnet_w16")
    trainer = make_trainer(max_steps=5, callbacks=[keep], enable_checkpointing=True)
    with pytest.raises(FloatingPointError, match=r"at step 2 .*nan.*lr=1\.0"):
        trainer.fit(distiller, datamodule=make_data())
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert kept["state_dict"]["synthetic.images"].isfinite().all()
    assert distiller.synthetic.images.isfinite().all()


def test_a_set_of_other_data_is_refused(make_data, make_trainer):
    distiller = DMDistiller(preset="paper", ipc=1, network="convnet_w16")
    make_trainer(max_steps=1).fit(distiller, datamodule=make_data())
    with pytest.raises(ValueError, match=r"holds a set for blobs \(1, 8, 8\), not for blobs \(3, 8, 8\)"):
        make_trainer(max_steps=1).fit(distiller, datamodule=make_data(channels=3))
