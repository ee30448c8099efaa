"""Inner products of the statistics in signal banks, with which the attacks on them work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.data.checks.arrays import Array
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.leakage.signal_attacks import ClassProducts
from lightning_distill.signals import SignalBank
from lightning_distill.signals.guarantee import Guarantee

#: Images that go through a network at once.
CHUNK = 512


@torch.no_grad()
def class_products(
    banks: Sequence[SignalBank],
    label: int,
    network: FunctionalNetwork,
    candidates: Array,
    population: Array,
    device: torch.device,
) -> ClassProducts:
    """Return the inner products of one class: what the attacks need of S banks, n candidates and m held-out images.

    Args:
        banks: Banks of equal draws, of S subsets of the candidates.
        label: Number of the class.
        network: Network of the draws.
        candidates: Images of the class that may be in the sums, ``(n, C, H, W)`` in pixel units.
        population: Held-out images of the class, ``(m, C, H, W)``.
        device: Device to compute on.
    """
    first = banks[0]
    draws, spec = first.draws, first.spec
    augment = SiameseAugmentation(draws.augmentation, spec.shape[1:])
    images = [spec.normalize(torch.from_numpy(part[:]).to(device)) for part in (candidates, population)]
    counts = torch.stack([bank.counts[0, label] for bank in banks]).double().to(device)
    totals: list[Tensor] = []
    for draw in range(draws.count):
        parameters = draws.parameters(draw, network, device)
        parameters = parameters | {name: rows[draw].to(device) for name, rows in first.weights.items()}
        (seed,), statistic = draws.class_seeds(draw, [label]), draws.statistic(draw, network, parameters, spec)

        def features(pixels: Tensor) -> Tensor:
            parts = [augment.of_classes(part, [len(part)], [seed]) for part in pixels.split(CHUNK)]  # noqa: B023
            rows = torch.cat([statistic.features(network.embed(parameters, part)) for part in parts])  # noqa: B023
            return rows.double()

        own, held = map(features, images)
        centre = held.mean(0)
        own, held = own - centre, held - centre
        sums = torch.stack([bank.sums[draw, label] for bank in banks]).double().to(device) - counts[:, None] * centre
        parts = [own @ own.T, own @ held.T, held @ held.T, sums @ own.T, sums @ held.T]
        totals = [total.add_(part) for total, part in zip(totals, parts, strict=True)] if totals else parts
    noise, rates = zip(*(_noise(bank, label) for bank in banks), strict=True)
    gram, cross, held_gram, with_own, with_held = totals
    return ClassProducts(
        gram, gram.diagonal().clone(), cross, held_gram, with_own, with_held, counts, torch.tensor(noise).to(counts),
        torch.tensor(rates).to(counts),
    )  # fmt: skip


def _noise(bank: SignalBank, label: int) -> tuple[float, float]:
    """Return the variance of the noise of each number of the sums of a class, and the share of sampled images."""
    if "guarantee" not in bank.about:
        return 0.0, 1.0
    guarantee = Guarantee.from_dict(bank.about["guarantee"])
    return (guarantee.sigma[label] * guarantee.clip) ** 2, guarantee.rate[label]
