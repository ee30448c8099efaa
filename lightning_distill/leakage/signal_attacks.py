"""Attacks on signal banks: which images are in the sums of a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

#: Names of the attacks in words.
SIGNAL_ATTACKS = {
    "tracing": "one image against the sums, with held-out images as the population",
    "decoding": "the list of all images that may be in the sums, by least squares",
}
#: Ridges of `trace`, as shares of the mean variance of the population.
RIDGES = (10.0, 1.0, 0.1, 0.01, 0.001)
#: Mock banks of held-out images on which the ridge is chosen, per class.
MOCK_BANKS = 16
#: Least number of held-out images of a class for `trace`.
MIN_POPULATION = 8
#: Ridge of `decode` without noise, as a share of the mean squared norm of the candidates: float32 sums are rounded.
ROUNDING = 1e-6


@dataclass(frozen=True)
class ClassProducts:
    """Inner products of the statistics of one class, summed over all draws and centred on the population's mean.

    Args:
        candidates: Products of n candidates with each other, ``(n, n)``.
        norms: Squared norms of the candidates, ``(n,)``.
        cross: Products of candidates and m images of the population, ``(n, m)``.
        population: Products of the population, ``(m, m)``.
        sums: Products of the sums of S banks and the candidates, ``(S, n)``.
        population_sums: Products of the sums and the population, ``(S, m)``.
        counts: Number of images in each sum, ``(S,)``; expected ones where the images were sampled.
        noise: Variance of the noise of each number of the sums, ``(S,)``; 0 without noise.
        rates: Share of the images of the class that each bank sampled, ``(S,)``; 1 without sampling.
    """

    candidates: Tensor
    norms: Tensor
    cross: Tensor
    population: Tensor
    sums: Tensor
    population_sums: Tensor
    counts: Tensor
    noise: Tensor
    rates: Tensor


def decode(products: ClassProducts) -> Tensor:
    r"""Return the estimated weight of each candidate in the sums, ``(S, n)``: about 1 for members, 0 for others.

    The sums are linear in the membership: :math:`s = \sum_i w_i f_i`. With more numbers in the bank than candidates
    the weights are determined. The estimate is that of ridge regression around 1/2, whose ridge is the variance of the
    noise over that of a membership, 1/4.

    Args:
        products: Inner products of the class.
    """
    gram, rate = products.candidates, products.rates[:, None]
    residual = products.sums / rate - 0.5 * gram.sum(1)  # (S, n)
    values, vectors = torch.linalg.eigh(gram)
    ridge = 4 * products.noise[:, None] / rate**2 + ROUNDING * products.norms.mean()
    weights: Tensor = 0.5 + (residual @ vectors / (values.clamp(min=0) + ridge)) @ vectors.T
    return weights


def trace(products: ClassProducts, ridge: float) -> Tensor:
    r"""Return the log likelihood ratio of each candidate being in the sums, ``(S, n)``.

    .. math:: x^T C^{-1} m - \tfrac{1}{2n} x^T C^{-1} x

    for statistics x of a candidate and the mean m of the n images of a bank, both less the population's mean, with
    the covariance C of the population plus a ridge, and plus the variance of the noise over n.

    Args:
        products: Inner products of the class.
        ridge: Ridge as a share of the mean variance of the population, see `choose_ridge`.

    Reference:
        Dwork et al.: Robust Traceability from Trace Amounts, FOCS 2015; after Homer et al., PLoS Genetics 2008.
    """
    scores = []
    for bank, (count, noise, rate) in enumerate(
        zip(products.counts.tolist(), products.noise.tolist(), products.rates.tolist(), strict=True)
    ):
        sums, population_sums = products.sums[bank], products.population_sums[bank]
        scores.append(
            _likelihood_ratio(
                products.norms, products.cross, products.population, sums / count,
                population_sums / count, count, ridge, noise / count, rate,
            )
        )  # fmt: skip
    return torch.stack(scores)


def choose_ridge(classes: Sequence[Tensor], seed: int) -> float:
    """Return the ridge of `RIDGES` with the largest AUC on mock banks, which are made of held-out images alone.

    One half of the held-out images of a class is the population; of the other half every second image is in the bank.

    Args:
        classes: Inner products ``(m, m)`` of the held-out images of each class.
        seed: Seed of the halves.
    """
    generator = torch.Generator().manual_seed(seed)
    aucs = torch.zeros(len(RIDGES))
    for gram in classes:
        for _ in range(MOCK_BANKS):
            order = torch.randperm(len(gram), generator=generator).to(gram.device)
            known, asked = order[: len(order) // 2], order[len(order) // 2 :]
            inside = asked[: len(asked) // 2]
            centred = _centred(gram, known)
            mean = centred[inside].mean(0)
            member = torch.isin(asked, inside).cpu().numpy()
            for number, ridge in enumerate(RIDGES):
                scores = _likelihood_ratio(
                    centred.diagonal()[asked], centred[asked][:, known], centred[known][:, known], mean[asked],
                    mean[known], float(len(inside)), ridge,
                )  # fmt: skip
                aucs[number] += roc_auc_score(member, scores.cpu().numpy())
    return RIDGES[int(aucs.argmax())]


def _likelihood_ratio(
    own: Tensor, cross: Tensor, population: Tensor, mean: Tensor, population_mean: Tensor, count: float, ridge: float,
    noise: float = 0.0, rate: float = 1.0,
) -> Tensor:  # fmt: skip
    """Return the log likelihood ratios ``(n,)`` of one bank, by the Woodbury identity in terms of inner products."""
    size = len(population)
    diagonal = ridge * population.diagonal().mean() / size + noise
    inverse = torch.linalg.inv(population + size * diagonal * torch.eye(size).to(population))
    solved = cross @ inverse  # (n, m)
    with_mean = mean - solved @ population_mean
    with_itself = own - (solved * cross).sum(1)
    ratio: Tensor = (rate * with_mean - 0.5 * rate**2 / count * with_itself) / diagonal
    return ratio


def _centred(gram: Tensor, rows: Tensor) -> Tensor:
    """Return inner products less the mean of some rows."""
    towards = gram[:, rows].mean(1)
    return gram - towards[:, None] - towards[None] + towards[rows].mean()
