from __future__ import annotations

import pytest
import torch

from lightning_distill import IDMDistiller
from lightning_distill.distillers.network_queue import NetworkQueue
from lightning_distill.networks import create_network
from lightning_distill.utils.rng import derive_seed

QUEUE = {"queue_size": 3, "push_every": 2, "trained_networks": 2, "train_steps": 3, "network_lr": 0.05}


def plain_idm(data, ipc: int, steps: int, seed: int, lr: float, ce_weight: float) -> torch.Tensor:
    """IDM without augmentation, with modules and their optimizers in a list, written from the formula."""
    spec, batches = data.spec, data.train_dataloader()
    classes = spec.num_classes
    begun = IDMDistiller(ipc=ipc, network="convnet_w16", seed=seed).init_synthetic(data)
    images, velocity = begun.images.detach().clone().requires_grad_(), 0

    def new() -> list:
        net = create_network("convnet_w16", spec.shape[0], classes, spec.shape[1:])
        sgd = torch.optim.SGD(net.parameters(), lr=QUEUE["network_lr"], momentum=0.9, weight_decay=5e-4)
        return [net, sgd, 0.0]

    for step in range(steps):
        x, y = batches.batch(step)
        x = spec.normalize(x)
        torch.manual_seed(derive_seed(seed, step))
        if step == 0:
            queue = [new(), new(), new()]
        net, _, accuracy = queue[derive_seed(seed, step, "network") % len(queue)]
        loss = torch.zeros(())
        for c in range(classes):
            own = images[c * ipc : (c + 1) * ipc]
            loss = loss + (net.embed(x[y == c]).detach().mean(0) - net.embed(own).mean(0)).square().sum()
            target = torch.full((ipc,), c)
            loss = loss + ce_weight * 100 * accuracy * torch.nn.functional.cross_entropy(net(own), target)
        (gradient,) = torch.autograd.grad(loss, images)
        velocity = 0.5 * velocity + gradient
        images = (images - lr * velocity).detach().requires_grad_()
        torch.manual_seed(derive_seed(seed, step, "after"))
        for index in torch.randperm(len(queue))[:2].tolist():
            rows = [torch.randperm(len(y))[:256] for _ in range(QUEUE["train_steps"])]
            net, sgd, _ = queue[index]
            for r in rows:
                logits = net(x[r])
                sgd.zero_grad()
                torch.nn.functional.cross_entropy(logits, y[r]).backward()
                sgd.step()
            queue[index][2] = (logits.argmax(1) == y[rows[-1]]).float().mean().item()
        if (step + 1) % QUEUE["push_every"] == 0:
            queue = [*queue, new()][-QUEUE["queue_size"] :]
    return images.detach()


@pytest.mark.parametrize("ce_weight", [0.0, 0.02])
def test_equals_a_plain_implementation_step_by_step(ce_weight, make_data, make_trainer):
    data = make_data(num_classes=3)
    distiller = IDMDistiller(
        ipc=2, lr=0.5, ce_weight=ce_weight, network="convnet_w16", augmentation="none", seed=4, **QUEUE
    )
    make_trainer(max_steps=5).fit(distiller, datamodule=data)
    expected = plain_idm(data, 2, 5, 4, 0.5, ce_weight)
    torch.testing.assert_close(distiller.synthetic.images.detach(), expected, rtol=1e-3, atol=1e-4)
    assert (distiller.synthetic.images - distiller.init_synthetic(data).images).abs().max() > 3e-3


def test_networks_learn_and_the_oldest_leave(make_data, make_trainer):
    data = make_data(per_class=40, real_per_class=32)
    distiller = IDMDistiller(ipc=1, network="convnet_w16", **(QUEUE | {"push_every": 5}))
    make_trainer(max_steps=11).fit(distiller, datamodule=data)
    queue = NetworkQueue(distiller.extra_state)
    assert queue.numbers == [2, 3, 4]
    assert max(queue.accuracy(number) for number in queue.numbers) > 0.9
    assert all(not tensor.requires_grad for tensor in distiller.extra_state.values())


@pytest.mark.parametrize("objective", ["mean", "characteristic", "mmd"])
def test_objectives_and_formation_go_with_the_queue(objective, make_data, make_trainer):
    distiller = IDMDistiller(ipc=2, objective=objective, formation=2, network="convnet_w16", **QUEUE)
    make_trainer(max_steps=3).fit(distiller, datamodule=make_data())
    assert distiller.synthetic.counts == [8, 8]
    assert distiller.synthetic.images.isfinite().all()


def test_chunks_change_nothing(make_data, make_trainer):
    images = []
    for chunk in (1, 5, None):
        distiller = IDMDistiller(ipc=[2, 1, 3], network="convnet_w16", chunk=chunk, seed=4, ce_weight=0.02, **QUEUE)
        make_trainer(max_steps=3).fit(distiller, datamodule=make_data(num_classes=3))
        images.append(distiller.synthetic.images.detach())
    for other in images[1:]:
        torch.testing.assert_close(other, images[0], rtol=1e-3, atol=1e-3)


def test_multi_label_data(make_data, make_trainer):
    from lightning_distill import ArrayDataModule

    images, labels = make_data(num_classes=3, per_class=20).train_arrays()
    targets = torch.eye(3, dtype=torch.int64)[labels].numpy()
    targets[::2, 0] = 1
    data = ArrayDataModule((images[:, 0], targets), min_combination=3, real_per_class=8)
    distiller = IDMDistiller(ipc=1, network="convnet_w16", **QUEUE)
    make_trainer(max_steps=3).fit(distiller, datamodule=data)
    assert distiller.synthetic.images.isfinite().all()


def test_a_new_fit_begins_with_new_networks(make_data, make_trainer):
    distiller = IDMDistiller(ipc=1, network="convnet_w16", **(QUEUE | {"push_every": 99}))
    make_trainer(max_steps=2).fit(distiller, datamodule=make_data())
    first = {key: tensor.clone() for key, tensor in distiller.extra_state.items()}
    distiller.synthetic = distiller.init_synthetic(make_data())
    make_trainer(max_steps=2).fit(distiller, datamodule=make_data())
    assert first.keys() == distiller.extra_state.keys()
    assert all(torch.equal(first[key], tensor) for key, tensor in distiller.extra_state.items())


@pytest.mark.parametrize("name", ["queue_size", "push_every", "trained_networks", "train_steps"])
def test_bad_numbers_name_the_value(name):
    with pytest.raises(ValueError, match=f"{name}=0; it must be at least 1"):
        IDMDistiller(**{name: 0})


def test_a_negative_weight_is_refused():
    with pytest.raises(ValueError, match=r"ce_weight=-0.1; it must be at least 0"):
        IDMDistiller(ce_weight=-0.1)
    with pytest.raises(ValueError, match=r"ce_weight=nan"):
        IDMDistiller(ce_weight=float("nan"))
