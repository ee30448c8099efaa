from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_distill import DCDistiller, DSADistiller
from lightning_distill.networks import create_network
from lightning_distill.utils.rng import derive_seed


def plain_distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
    """Row by row, as the paper says it."""
    total = torch.zeros(())
    for real, synthetic in zip(a, b, strict=True):
        if real.ndim > 1:
            for u, v in zip(real.reshape(len(real), -1), synthetic.reshape(len(real), -1), strict=True):
                total = total + 1 - torch.dot(u, v) / (u.norm() * v.norm() + 1e-6)
    return total


def plain_dc(data, begun, steps, outer, inner, network, seed, collective=False) -> torch.Tensor:
    """DC as its protocol tells it: modules, torch.optim and loops over classes, eager float32, no augmentation."""
    spec, draws = data.spec, data.train_dataloader()
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (spec.mean, spec.std))
    images, labels = begun.images.detach().clone().requires_grad_(), begun.labels
    optimizer = torch.optim.SGD([images], lr=0.1, momentum=0.5)
    net = None
    for step in range(steps):
        x, y = draws.batch(step)
        x = (x.float() - mean) / std
        if step % outer == 0:
            torch.manual_seed(derive_seed(seed, step))
            net = create_network(network, spec.shape[0], spec.num_classes, spec.shape[1:])
        weights = list(net.parameters())
        if any(isinstance(m, torch.nn.BatchNorm2d) for m in net.modules()):
            net.train()
            with torch.no_grad():
                net(torch.cat([x[y == c][:16] for c in range(spec.num_classes)]))
            for module in net.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()
        loss = torch.zeros(())
        groups = [list(range(spec.num_classes))] if collective else [[c] for c in range(spec.num_classes)]
        for group in groups:
            real, fake = (sum((t == c for c in group), torch.zeros_like(t)).bool() for t in (y, labels))
            a = torch.autograd.grad(F.cross_entropy(net(x[real]), y[real]), weights)
            b = torch.autograd.grad(F.cross_entropy(net(images[fake]), labels[fake]), weights, create_graph=True)
            loss = loss + plain_distance(a, b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        net.train()
        if (step + 1) % outer:
            torch.manual_seed(derive_seed(seed, step, "after"))
            sgd = torch.optim.SGD(weights, lr=0.01)
            for _ in range(inner):
                for rows in torch.randperm(len(labels)).split(256):
                    sgd.zero_grad()
                    F.cross_entropy(net(images.detach()[rows]), labels[rows]).backward()
                    sgd.step()
    return images.detach()


@pytest.mark.parametrize("network", ["convnet_w16", "convnet_batch"])
@pytest.mark.parametrize("collective", [False, True])
def test_equals_a_plain_implementation_step_by_step(network, collective, make_data, make_trainer):
    data = make_data(num_classes=3, channels=3)
    options = {"outer_loop": 3, "inner_loop": 2, "collective": collective, "network": network}
    distiller = DCDistiller(preset="paper", ipc=[2, 1, 3], init="real", seed=4, **options)
    begun = distiller.init_synthetic(data)
    make_trainer(max_steps=5).fit(distiller, datamodule=data)
    expected = plain_dc(data, begun, 5, 3, 2, network, 4, collective)
    assert (expected - begun.images).abs().max() > 1e-2
    torch.testing.assert_close(distiller.synthetic.images.detach(), expected, rtol=1e-3, atol=1e-4)


def test_dsa_is_dc_with_other_beginnings():
    dc, dsa = DCDistiller(preset="paper"), DSADistiller(preset="paper")
    assert isinstance(dsa, DCDistiller)
    assert (dc.hparams["init"], dc.hparams["augmentation"], dc.hparams["lr"]) == ("noise", "none", 0.1)
    assert (dsa.hparams["init"], dsa.hparams["augmentation"], dsa.hparams["lr"]) == ("real", None, 0.1)
    assert (dc.outer_loop, dc.inner_loop) == (dsa.outer_loop, dsa.inner_loop) == (10, 50)
    assert (DCDistiller(preset="paper", ipc=1).outer_loop, DSADistiller(preset="paper", ipc=[1, 20]).outer_loop) == (
        1,
        20,
    )


def networks(distiller, data, trainer, monkeypatch):
    """The network that every step was matched on, as one number each."""
    seen, losses = [], type(distiller).losses

    def spy(self, real):
        yield from losses(self, real)
        seen.append(sum(t.double().sum().item() for n, t in self.extra_state.items() if n in self.network.weight_names))

    monkeypatch.setattr(type(distiller), "losses", spy)
    trainer.fit(distiller, datamodule=data)
    return seen


def test_with_one_image_step_a_network_is_never_trained(make_data, make_trainer, monkeypatch):
    from lightning_distill.distillers import dc as gradient_matching

    monkeypatch.setattr(gradient_matching, "optimizer_step", lambda *_: pytest.fail("the network was trained"))
    distiller = DCDistiller(preset="paper", ipc=1, network="convnet_w16")
    assert len(set(networks(distiller, make_data(), make_trainer(max_steps=3), monkeypatch))) == 3


def test_a_network_learns_between_its_image_steps_and_not_after_the_last(make_data, make_trainer, monkeypatch):
    from lightning_distill.distillers import dc as gradient_matching

    steps, original = [], gradient_matching.optimizer_step
    monkeypatch.setattr(
        gradient_matching, "optimizer_step", lambda *args: steps.append(len(args[3])) or original(*args)
    )
    distiller = DCDistiller(preset="paper", ipc=2, network="convnet_w16", outer_loop=3, inner_loop=4)
    seen = networks(distiller, make_data(), make_trainer(max_steps=6), monkeypatch)
    assert len(set(seen)) == 6
    assert steps == [4] * (2 * 2 * 4)  # two networks, trained twice, four epochs of one batch of four images


def test_inner_training_augments_for_dsa_and_not_for_dc(make_data, make_trainer, monkeypatch):
    from lightning_distill.augmentation.siamese import SiameseAugmentation

    calls, plain = [], SiameseAugmentation.plain
    monkeypatch.setattr(SiameseAugmentation, "plain", lambda self, x: calls.append(self.preset) or plain(self, x))
    for method in (DCDistiller, DSADistiller):
        make_trainer(max_steps=2).fit(
            method(preset="paper", ipc=2, network="convnet_w16", outer_loop=2, inner_loop=1), datamodule=make_data()
        )
    assert calls == ["none", "dsa"]


@pytest.mark.parametrize("distance", ["rowwise", "mse", "cosine"])
def test_every_distance_falls_on_a_network_that_stays_as_it_is(distance, make_data, make_trainer):
    rate = {"rowwise": 0.1, "mse": 0.01, "cosine": 10.0}[distance]
    options = {
        "distance": distance,
        "lr": rate,
        "network": "convnet_w16",
        "outer_loop": 100,
        "inner_loop": 1,
        "network_lr": 0.0,
    }
    losses = []
    for steps in (1, 20):
        trainer = make_trainer(max_steps=steps)
        trainer.fit(DCDistiller(preset="paper", ipc=1, seed=1, **options), datamodule=make_data(real_per_class=12))
        losses.append(trainer.callback_metrics["distill/loss"].item())
    assert losses[1] < losses[0]


@pytest.mark.parametrize("collective", [False, True])
@pytest.mark.parametrize(("chunk", "steps"), [(1, 1), (3, 3), (8, 3)])  # rounding grows with pieces and with steps
def test_chunks_change_nothing(chunk, steps, collective, make_data, make_trainer):
    images = []
    for size in (chunk, None):
        distiller = DCDistiller(
            preset="paper", ipc=2, network="convnet_w16", outer_loop=2, inner_loop=2, collective=collective, chunk=size
        )
        make_trainer(max_steps=steps).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach())
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)


def test_bf16_follows_float32(make_data, make_trainer):
    images = []
    for precision in ("32-true", "bf16-mixed"):
        distiller = DSADistiller(preset="paper", ipc=2, network="convnet_w16", outer_loop=2, inner_loop=2, seed=2)
        make_trainer(max_steps=1, precision=precision).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach())
    begun = distiller.init_synthetic(make_data()).images.detach()
    moves = [(one - begun).flatten() for one in images]
    assert torch.nn.functional.cosine_similarity(*moves, dim=0) > 0.9


@pytest.mark.parametrize(
    ("precision", "gradient_precision", "matching", "training"),
    [
        ("bf16-mixed", None, torch.bfloat16, torch.bfloat16),
        ("bf16-mixed", "32-true", torch.float32, torch.bfloat16),
        ("32-true", "bf16-mixed", torch.bfloat16, torch.float32),
        ("32-true", None, torch.float32, torch.float32),
    ],
)
def test_matched_gradients_have_a_precision_of_their_own(
    precision, gradient_precision, matching, training, make_data, make_trainer, monkeypatch
):
    from lightning_distill.distillers import dc as gradient_matching

    seen = {}

    def noted(name):
        original = getattr(gradient_matching, name)

        def note(network, parameters, *given):
            with torch.no_grad():
                clone = {key: tensor.detach().clone() for key, tensor in parameters.items()}
                seen.setdefault(name, set()).add(
                    network(clone, make_data().spec.normalize(torch.zeros(1, 1, 8, 8))).dtype
                )
            return original(network, parameters, *given)

        monkeypatch.setattr(gradient_matching, name, note)

    for name in ("loss_gradient", "mixed_derivative", "optimizer_step"):
        noted(name)
    distiller = DCDistiller(
        preset="paper", ipc=2, network="convnet_w16", outer_loop=2, inner_loop=1, gradient_precision=gradient_precision
    )
    make_trainer(max_steps=2, precision=precision).fit(distiller, datamodule=make_data())
    assert seen == {"loss_gradient": {matching}, "mixed_derivative": {matching}, "optimizer_step": {training}}


def test_float32_gradients_under_bf16_are_those_of_a_float32_run(make_data, make_trainer):
    images = []
    for precision, gradient_precision in (("32-true", None), ("bf16-mixed", "32-true"), ("bf16-mixed", None)):
        distiller = DSADistiller(
            preset="paper", ipc=2, network="convnet_w16", outer_loop=1, seed=2, gradient_precision=gradient_precision
        )
        make_trainer(max_steps=3, precision=precision).fit(distiller, datamodule=make_data())
        images.append(distiller.synthetic.images.detach())
    torch.testing.assert_close(images[1], images[0], rtol=1e-5, atol=1e-6)
    assert (images[2] - images[0]).abs().max() > 1e-4


@pytest.mark.parametrize("network", ["lenet", "test_resnet", "convnet_layer", "resnet18_batch"])
def test_other_networks(network, make_data, make_trainer):
    data = make_data(channels=3, size=32)
    distiller = DCDistiller(preset="paper", ipc=1, network=network)
    make_trainer(max_steps=1).fit(distiller, datamodule=data)
    assert (distiller.synthetic.images - distiller.init_synthetic(data).images).abs().amax((1, 2, 3)).min() > 0


def test_bad_input_names_the_value_and_the_way_out(make_data, make_trainer):
    with pytest.raises(ValueError, match=r"unknown distance 'l1'; use one of rowwise, mse, cosine"):
        DCDistiller(preset="paper", distance="l1")
    with pytest.raises(ValueError, match=r"outer_loop=0; it must be at least 1, or null"):
        DSADistiller(preset="paper", outer_loop=0)
    with pytest.raises(ValueError, match=r"inner_loop=-1"):
        DSADistiller(preset="paper", inner_loop=-1)
    with pytest.raises(TypeError, match="no_such_option"):
        DCDistiller(preset="paper", no_such_option=1)
