"""Attacks against re-derivations in plain numpy, and on evidence whose answer is known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_distill.leakage.attacks import ATTACKS, applicable
from lightning_distill.leakage.attacks.gaussian import OWN_VARIANCE_FROM, gaussians
from lightning_distill.leakage.attacks.rmia import OFFLINE_A
from lightning_distill.leakage.confidence import QUERIES, label_log_odds
from lightning_distill.leakage.evidence import Evidence


def evidence(references: int = 10, candidates: int = 30, population: int = 12, leak: float = 0.0, seed: int = 0):
    """Measurements in which membership of the target adds ``leak`` to the confidence, and the membership."""
    random = np.random.default_rng(seed)
    members = np.stack([random.permutation(candidates) < candidates // 2 for _ in range(references // 2)])
    members = np.concatenate([np.stack([half, ~half]) for half in members])
    target = random.permutation(candidates) < candidates // 2
    hard = random.normal(0, 2, candidates)
    confidence = hard + leak * target + random.normal(0, 0.5, candidates)
    made = hard + leak * members + random.normal(0, 0.5, members.shape)
    distances = np.abs(random.normal(3, 1, candidates)) + 1 - leak * target * 0.2
    return Evidence(
        confidence=confidence,
        student=confidence + random.normal(0, 0.1, candidates),
        reference_confidence=made,
        reference_members=members,
        population=random.normal(0, 2, population),
        reference_population=random.normal(0, 2, (references, population)),
        distances={"pixels": distances, "correlation": distances / 9, "embedding": distances**2},
        reference_distances={"pixels": np.abs(random.normal(3, 1, members.shape))},
        statistics=random.normal(size=4),
        image_statistics=random.normal(size=(candidates, 4)),
        reference_statistics=random.normal(size=(references, 4)),
    ), target


def pooled_std(values, chosen):
    total = squares = 0.0
    for image in range(values.shape[1]):
        own = values[chosen[:, image], image]
        squares += ((own - np.median(own)) ** 2).sum()
        total += len(own) - 1
    return math.sqrt(squares / total)


def test_lira_is_the_likelihood_ratio_of_medians_with_a_fixed_variance():
    given, _ = evidence()
    values, members = given.reference_confidence, given.reference_members
    inside, outside = pooled_std(values, members), pooled_std(values, ~members)
    for image, score in enumerate(ATTACKS["lira_online"].score(given)):
        means = [np.median(values[flags[:, image], image]) for flags in (members, ~members)]
        x, densities = given.confidence[image], []
        for mean, std in zip(means, (inside, outside), strict=True):
            densities.append(math.exp(-((x - mean) ** 2) / (2 * std**2)) / (std * math.sqrt(2 * math.pi)))
        assert score == pytest.approx(math.log(densities[0] / densities[1]), abs=1e-9)


def test_offline_lira_is_the_normal_distribution_function_up_to_its_scale():
    from statistics import NormalDist

    given, _ = evidence()
    values, outside = given.reference_confidence, ~given.reference_members
    std = pooled_std(values, outside)
    probabilities = [
        NormalDist(float(np.median(values[outside[:, i], i])), std).cdf(float(x))
        for i, x in enumerate(given.confidence)
    ]
    scores = ATTACKS["lira_offline"].score(given)
    np.testing.assert_allclose([NormalDist().cdf(float(score)) for score in scores], probabilities, atol=1e-12)


def test_many_references_give_each_image_its_own_variance():
    random = np.random.default_rng(0)
    values = random.normal(0, [1.0, 5.0], (2 * OWN_VARIANCE_FROM, 2))
    chosen = np.arange(2 * OWN_VARIANCE_FROM)[:, None] % 2 == 0
    _, std = gaussians(values, np.repeat(chosen, 2, 1))
    assert std[1] / std[0] == pytest.approx(5, rel=0.4)
    _, shared = gaussians(values[:10], np.repeat(chosen[:10], 2, 1))
    assert shared[0] == shared[1]


def test_rmia_is_the_share_of_population_images_with_a_smaller_ratio():
    given, _ = evidence()

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    def ratio(own, references):
        return sigmoid(own) / (0.5 * ((1 + OFFLINE_A) * np.mean(sigmoid(references)) + 1 - OFFLINE_A))

    others = [ratio(own, given.reference_population[:, z]) for z, own in enumerate(given.population)]
    scores = ATTACKS["rmia"].score(given)
    for image, score in enumerate(scores):
        outside = ~given.reference_members[:, image]
        own = ratio(given.confidence[image], given.reference_confidence[outside, image])
        assert score == pytest.approx(np.mean([own > other for other in others]), abs=1e-5)
    assert len(np.unique(scores)) == len(scores), "ties are ordered by the ratio"


def test_attacks_without_references_do_not_read_them():
    given, _ = evidence()
    other = replace(
        given,
        reference_confidence=given.reference_confidence * np.nan,
        reference_distances={"pixels": given.reference_distances["pixels"] * np.nan},
    )
    for name in ("loss", "pixel_distance", "correlation_distance", "embedding_distance"):
        np.testing.assert_array_equal(ATTACKS[name].score(given), ATTACKS[name].score(other))
    np.testing.assert_allclose(ATTACKS["loss"].score(given), np.log(1 / (1 + np.exp(-given.student))), rtol=1e-12)
    np.testing.assert_array_equal(ATTACKS["pixel_distance"].score(given), -given.distances["pixels"])


def test_the_statistics_find_the_images_that_made_them():
    random, size = np.random.default_rng(0), 40
    images = random.normal(size=(size, 30))
    members = np.arange(size) < 10
    references = np.stack([images[random.permutation(size)[:10]].mean(0) for _ in range(50)])
    given = replace(
        evidence()[0],
        statistics=images[members].mean(0),
        image_statistics=images,
        reference_statistics=references,
    )
    scores = ATTACKS["shipped_statistics"].score(given)
    assert scores[members].mean() > scores[~members].mean() + 3 * scores[~members].std() / np.sqrt(30)


@pytest.mark.parametrize("name", ["lira_online", "lira_offline", "rmia", "calibrated_distance"])
def test_a_leak_is_found_and_none_is_not(name):
    from sklearn.metrics import roc_auc_score

    given, members = evidence(references=16, candidates=400, population=100, leak=4.0)
    assert roc_auc_score(members, ATTACKS[name].score(given)) > (0.6 if name == "calibrated_distance" else 0.9)
    given, members = evidence(references=16, candidates=400, population=100, leak=0.0)
    assert 0.42 < roc_auc_score(members, ATTACKS[name].score(given)) < 0.58


def test_only_attacks_that_the_evidence_allows_are_applied():
    given, _ = evidence()
    assert applicable(given) == list(ATTACKS)
    equal = replace(given, reference_statistics=np.ones_like(given.reference_statistics))
    assert applicable(equal) == [name for name in ATTACKS if name != "shipped_statistics"]
    bare = replace(given, distances={}, in_references=False)
    assert applicable(bare) == ["lira_offline", "rmia", "loss", "shipped_statistics"]


def test_log_odds_are_those_of_the_probability_of_the_label():
    logits = torch.randn(20, 5, dtype=torch.float64)
    labels = torch.randint(0, 5, (20,))
    p = logits.softmax(1)[torch.arange(20), labels]
    torch.testing.assert_close(label_log_odds(logits, labels).double(), (p / (1 - p)).log(), atol=1e-5, rtol=1e-5)
    targets = torch.randint(0, 2, (20, 5))
    rows = torch.where(targets > 0, logits.sigmoid(), 1 - logits.sigmoid()).prod(1)
    torch.testing.assert_close(
        label_log_odds(logits, targets).double(), (rows / (1 - rows)).log(), atol=1e-5, rtol=1e-5
    )
    assert label_log_odds(torch.tensor([[800.0, -800.0]]), torch.tensor([0])).isfinite().all()
    assert label_log_odds(torch.tensor([[800.0, 800.0]]), torch.tensor([[1, 1]])).isfinite().all()


def test_queries_are_different_views_and_the_first_is_the_image():
    x = torch.arange(48.0).view(1, 3, 4, 4)
    views = [query(x) for query in QUERIES]
    assert torch.equal(views[0], x)
    assert all(view.shape == x.shape for view in views)
    assert len({tuple(view.flatten().tolist()) for view in views}) == len(QUERIES)
