from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from reference.class_means import relative_mean_distance
from reference.kernel_ridge import kernel_ridge_loss

from lightning_distill import KRRDistiller
from lightning_distill.networks import create_network
from lightning_distill.utils.rng import derive_seed

SMALL = {"network": "convnet_w16", "pool_size": 2, "max_age": 3}


def plain_krr(data, begun, distiller, steps):
    """KRR as its paper tells it: modules, torch.optim and the kernel as a matrix, eager, no augmentation."""
    spec, draws, seed = data.spec, data.train_dataloader(), distiller.seed
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (spec.mean, spec.std))
    images, labels = begun.images.detach().clone().requires_grad_(), begun.labels
    adam = torch.optim.Adam([images], lr=distiller.lr)
    one_hot = lambda y: F.one_hot(y, spec.num_classes).double() - 1 / spec.num_classes  # noqa: E731

    def new(index, birth):
        torch.manual_seed(derive_seed(seed, "pool", index, birth))
        net = create_network("convnet_w16", spec.shape[0], spec.num_classes, spec.shape[1:])
        return [net, torch.optim.SGD(net.parameters(), lr=distiller.network_lr, momentum=0.9, weight_decay=5e-4), 0]

    def learn(member):
        rows = torch.randperm(len(labels))
        member[1].zero_grad()
        F.cross_entropy(member[0](images.detach()[rows]), labels[rows]).backward()
        member[1].step()
        member[2] += 1

    pool = [new(index, 0) for index in range(2)]
    torch.manual_seed(derive_seed(seed, "pool", 1, "start"))
    learn(pool[1])  # 1 * max_age // 2
    losses = []
    for step in range(steps):
        x, y = draws.batch(step)
        x = (x.float() - mean) / std
        index = derive_seed(seed, step, "network of the pool") % 2
        net = pool[index][0]
        with torch.no_grad():
            real = net.embed(x).double()
        s = net.embed(images).double()
        kernel = s @ s.T
        system = kernel + distiller.ridge * kernel.trace() / len(s) * torch.eye(len(s))
        predicted = real @ s.T @ torch.linalg.solve(system, one_hot(labels))
        loss = (predicted - one_hot(y)).square().sum(1).mean()
        means, wanted = (torch.stack([f[c == k].mean(0) for k in range(3)]) for f, c in ((s, labels), (real, y)))
        scatter = (means.detach().var(0, correction=0) * 3).sum()
        loss = loss + distiller.dm_weight * (means - wanted).norm(dim=1).square().sum() / scatter
        losses.append(loss.item())
        adam.zero_grad()
        loss.backward()
        adam.step()
        torch.manual_seed(derive_seed(seed, step, "after"))
        if pool[index][2] + 1 >= 3:
            pool[index] = new(index, step + 1)
        else:
            learn(pool[index])
    return images.detach(), losses


@pytest.mark.parametrize("weight", [0.0, 1.0, 5.0])
def test_equals_a_plain_implementation_step_by_step(weight, make_data, make_trainer):
    data = make_data(num_classes=3, channels=3)
    options = {"augmentation": "none", "lr_schedule": "constant", "dm_weight": weight}
    distiller = KRRDistiller(ipc=[2, 1, 3], seed=4, **options, **SMALL)
    begun = distiller.init_synthetic(data)
    trainer = make_trainer(max_steps=6)
    trainer.fit(distiller, datamodule=data)
    expected, losses = plain_krr(data, begun, distiller, 6)
    assert (expected - begun.images).abs().max() > 1e-2
    assert trainer.callback_metrics["distill/loss"].item() == pytest.approx(losses[-1], rel=1e-3)
    torch.testing.assert_close(distiller.synthetic.images.detach(), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_the_loss_is_that_of_the_formula(weight, make_data, make_trainer):
    data = make_data(num_classes=3)
    distiller = KRRDistiller(ipc=2, augmentation="none", seed=1, network="convnet_w16", pool_size=1, dm_weight=weight)
    begun = distiller.init_synthetic(data)
    trainer = make_trainer(max_steps=1)
    trainer.fit(distiller, datamodule=data)
    torch.manual_seed(derive_seed(1, "pool", 0, 0))
    network = create_network("convnet_w16", 1, 3, (8, 8))
    pixels, labels = data.train_dataloader().batch(0)
    with torch.no_grad():
        real, synthetic = network.embed(data.spec.normalize(pixels)), network.embed(begun.images)
    rows = [(F.one_hot(y, 3) - 1 / 3).tolist() for y in (labels, begun.labels)]
    expected = kernel_ridge_loss(real.tolist(), synthetic.tolist(), *rows, distiller.ridge)
    sides = [[f[y == k].tolist() for k in range(3)] for f, y in ((real, labels), (synthetic, begun.labels))]
    expected += weight * relative_mean_distance(*sides)
    assert trainer.callback_metrics["distill/loss"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"augmentation": "none"}, {"network": "convnet_batch"}], ids=str)
def test_chunks_change_nothing(options, make_data, make_trainer):
    images = []
    for chunk in (1, 5, 16, None):
        distiller = KRRDistiller(
            **{"ipc": [2, 1, 3], "chunk": chunk, "seed": 4, "optimizer": "sgd", **SMALL, **options}
        )
        make_trainer(max_steps=3).fit(distiller, datamodule=make_data(num_classes=3))
        images.append(distiller.synthetic.images.detach())
    for other in images[1:]:
        torch.testing.assert_close(other, images[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("soft_labels", [False, True])
@pytest.mark.parametrize("kill_at", [1, 4])
def test_a_resumed_run_and_its_pool_are_bit_identical(kill_at, soft_labels, make_data, make_trainer, tmp_path):
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Killed(Exception):
        pass

    class KillingDistiller(KRRDistiller):
        def losses(self, real):
            if self.global_step == kill_at and not self.hparams.get("resumed"):
                raise Killed
            yield from super().losses(real)

    KillingDistiller.__name__ = KRRDistiller.__name__  # a checkpoint of another method is refused
    options = {"ipc": 2, "seed": 3, "soft_labels": soft_labels, **SMALL}
    whole, second = KRRDistiller(**options), KRRDistiller(**options)
    make_trainer(max_steps=8).fit(whole, datamodule=make_data(num_classes=3))
    keep = ModelCheckpoint(tmp_path, every_n_train_steps=1, save_last=True)
    with pytest.raises(Killed):
        make_trainer(max_steps=8, callbacks=[keep], enable_checkpointing=True).fit(
            KillingDistiller(**options), datamodule=make_data(num_classes=3)
        )
    make_trainer(max_steps=8).fit(second, datamodule=make_data(num_classes=3), ckpt_path=tmp_path / "last.ckpt")
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in whole.state_dict().items())
    assert whole.extra_state.keys() == second.extra_state.keys()
    assert all(torch.equal(value, second.extra_state[name]) for name, value in whole.extra_state.items())


@pytest.mark.parametrize(("ipc", "weight"), [(1, 0.0), (4, 0.0), ([1, 5], 1.0), (10, 1.0)], ids=str)
def test_the_preset_matches_class_means_where_there_are_several_images_per_class(ipc, weight):
    distiller = KRRDistiller(ipc=ipc, **SMALL)
    assert distiller.dm_weight == distiller.hparams["dm_weight"] == weight
    assert KRRDistiller(ipc=ipc, dm_weight=0.3, **SMALL).dm_weight == 0.3


def test_the_loss_falls_on_random_networks(make_data, make_trainer):
    losses = []
    for steps in (1, 30):
        trainer = make_trainer(max_steps=steps)
        options = {"pool_size": 1, "network_steps": 0, "max_age": 1000, "lr": 0.05, "augmentation": "none"}
        distiller = KRRDistiller(ipc=1, network="convnet_w16", ridge=1e-3, **options)
        trainer.fit(distiller, datamodule=make_data(real_per_class=12))
        losses.append(trainer.callback_metrics["distill/loss"].item())
    assert losses[1] < 0.7 * losses[0]


def test_a_network_that_gives_nan_is_replaced_and_the_run_goes_on(make_data, make_trainer):
    class Spoiled(KRRDistiller):
        def after_step(self, real):
            super().after_step(real)
            if self.global_step == 2:
                index = self.pool.index_at(2)
                name = self.network.weight_names[0]
                self.extra_state[f"{index}.{name}"].fill_(float("nan"))

    distiller = Spoiled(ipc=2, **SMALL)
    with pytest.warns(UserWarning, match=r"network \d of the pool .* at step 2 .* lower network_lr=0.01"):
        make_trainer(max_steps=5).fit(distiller, datamodule=make_data())
    assert distiller.synthetic.images.isfinite().all()
    assert all(tensor.isfinite().all() for tensor in distiller.extra_state.values())


def test_a_rate_at_which_networks_diverge_does_not_stop_the_run(make_data, make_trainer):
    distiller = KRRDistiller(ipc=2, network="convnet_w16", pool_size=1, max_age=100, network_lr=1e30)
    with pytest.warns(UserWarning, match="was replaced by a new one"):
        make_trainer(max_steps=6).fit(distiller, datamodule=make_data())
    assert distiller.synthetic.images.isfinite().all()


def test_a_singular_kernel_is_said_once(make_data, make_trainer):
    distiller = KRRDistiller(ipc=20, on_small_class="repeat", ridge=0.0, augmentation="none", lr=1e-12, **SMALL)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        make_trainer(max_steps=3).fit(distiller, datamodule=make_data())
    raised = [str(w.message) for w in said if "singular" in str(w.message)]
    assert len(raised) == 1
    assert "ridge=0.0 was raised to 1e-" in raised[0]
    assert distiller.synthetic.images.isfinite().all()


def test_bf16_follows_float32(make_data, make_trainer):
    moves = []
    for precision in ("32-true", "bf16-mixed"):
        distiller = KRRDistiller(ipc=2, optimizer="sgd", lr=0.1, seed=2, **SMALL)
        make_trainer(max_steps=1, precision=precision).fit(distiller, datamodule=make_data())
        moves.append((distiller.synthetic.images - distiller.init_synthetic(make_data()).images).detach().flatten())
    assert F.cosine_similarity(*moves, dim=0) > 0.9


def test_optimizers_and_schedules(make_data, make_trainer):
    adam, constant, sgd = (
        KRRDistiller(ipc=1, **SMALL, **options)
        for options in ({}, {"lr_schedule": "constant"}, {"optimizer": "sgd", "soft_labels": True, "momentum": 0.3})
    )
    for distiller in (adam, constant, sgd):
        make_trainer(max_steps=2).fit(distiller, datamodule=make_data())
    optimizers = [distiller.trainer.optimizers[0] for distiller in (adam, constant, sgd)]
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["Adam", "Adam", "SGD"]
    assert optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-9)
    assert optimizers[1].param_groups[0]["lr"] == 0.03
    assert [group["momentum"] for group in optimizers[2].param_groups] == [0.3, 0.3]
    assert len(optimizers[2].param_groups) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "lamb"}, "unknown optimizer 'lamb'; use one of adam, sgd"),
        ({"ridge": -1.0}, r"ridge=-1.0; it must be finite and at least 0"),
        ({"ridge": float("inf")}, "ridge=inf"),
        ({"ridge": float("nan")}, "ridge=nan"),
        ({"dm_weight": -1.0}, r"dm_weight=-1.0; it must be finite and at least 0, e.g. 1"),
        ({"pool_size": 0}, "pool_size=0; it must be at least 1"),
        ({"max_age": 0}, "max_age=0; it must be at least 1"),
        ({"network_steps": -1}, "network_steps=-1; it must be at least 0"),
        ({"ipc": 0}, "ipc=0"),
        ({"pool_networks": ["mlp", "lenet"], "pool_size": 2}, "pool_size=2 for 3 networks; use at least 3"),
        ({"momentum": 0.9}, r"momentum=0\.9 is that of sgd"),
        ({"pool_networks": ["lenett"]}, "unknown network 'lenett'; closest names: lenet"),
    ],
)
def test_bad_input_names_the_value_and_the_way_out(options, message):
    with pytest.raises(ValueError, match=message):
        KRRDistiller(**options)


def test_a_checkpoint_with_another_pool_is_refused(make_data, make_trainer, tmp_path):
    trainer = make_trainer(max_steps=1)
    trainer.fit(KRRDistiller(ipc=1, **SMALL), datamodule=make_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    for changed, message in (
        ({"pool_size": 5}, r"made with pool_size=2 \(now 5\), which cannot change"),
        ({"pool_networks": ["mlp"]}, r"made with pool_networks=None \(now \['mlp'\]\), which cannot change"),
        ({"network": "mlp"}, r"made with network='convnet_w16' \(now 'mlp'\), which cannot change"),
        ({"optimizer": "sgd"}, r"made with optimizer='adam' \(now 'sgd'\), which cannot change"),
        ({"soft_labels": True}, r"made with soft_labels=False \(now True\), which cannot change"),
    ):
        other = KRRDistiller(ipc=1, **{**SMALL, **changed})
        other.resume_with_changes = True
        with pytest.raises(ValueError, match=message):
            make_trainer(max_steps=2).fit(other, datamodule=make_data(), ckpt_path=tmp_path / "a.ckpt")
    checkpoint = torch.load(tmp_path / "a.ckpt", weights_only=True)  # one that does not record its settings
    for name in ("pool_size", "pool_networks"):
        del checkpoint["hyper_parameters"][name]
    torch.save(checkpoint, tmp_path / "b.ckpt")
    for changed, message in (
        ({"pool_size": 5}, r"has a pool of 2 networks; use pool_size=2, not 5"),
        ({"pool_networks": ["mlp"]}, "has a pool of other networks than convnet_w16, mlp; use those it has"),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(max_steps=2).fit(
                KRRDistiller(ipc=1, **{**SMALL, **changed}), datamodule=make_data(), ckpt_path=tmp_path / "b.ckpt"
            )


def test_a_pool_of_two_architectures_alternates(make_data, make_trainer):
    used, options = [], {**SMALL, "network": "mlp", "pool_networks": ["convnet_w16"]}

    class Watched(KRRDistiller):
        def losses(self, real):
            yield from super().losses(real)
            used.append(sorted(self.network.weight_names) == sorted(self.pool.networks[1].weight_names))

    distiller = Watched(ipc=1, **options)
    make_trainer(max_steps=6).fit(distiller, datamodule=make_data())
    assert used == [distiller.pool.index_at(step) == 1 for step in range(6)]
    assert {True, False} == set(used)
    same = KRRDistiller(ipc=1, **options)
    make_trainer(max_steps=6).fit(same, datamodule=make_data())
    assert torch.equal(distiller.synthetic.images, same.synthetic.images)
