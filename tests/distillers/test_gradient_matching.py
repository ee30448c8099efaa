from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lightning_distill import DCDistiller
from lightning_distill.isolation import derive_seed
from lightning_distill.networks import create_network


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
    options = {"outer": 3, "inner": 2, "collective": collective, "network": network}
    distiller = DCDistiller(ipc=[2, 1, 3], start="real", seed=4, **options)
    begun = distiller.start(data)
    make_trainer(max_steps=5).fit(distiller, datamodule=data)
    expected = plain_dc(data, begun, 5, 3, 2, network, 4, collective)
    assert (expected - begun.images).abs().max() > 1e-2
    torch.testing.assert_close(distiller.synthetic.images.detach(), expected, rtol=1e-3, atol=1e-4)
