"""Canaries: unusual images inserted into the data, to bound epsilon from below in one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.splits import Split
from lightning_distill.leakage.epsilon import epsilon_lower_bound
from lightning_distill.leakage.measure import Measurement, Measurer
from lightning_distill.leakage.members import Members
from lightning_distill.leakage.recipes import MadeSet, Recipe
from lightning_distill.leakage.subset import SubsetDataModule

#: ``mislabelled``: held-out images with a wrong label. ``out_of_distribution``: coloured noise with a random label.
CanaryKind = Literal["mislabelled", "out_of_distribution"]
#: Least number of canaries: one guess of those in and one of those out.
MIN_CANARIES = 4
#: Share of the canaries that are guessed: the most and the least confident quarter.
GUESSED = 0.5


@dataclass(frozen=True)
class CanaryAudit:
    """Result of a one-run audit.

    Args:
        kind: Kind of the canaries.
        score: Score that was guessed by: ``confidence`` or ``distance``.
        canaries: Number of canaries; each was in the data with probability 1/2.
        guesses: Number of guesses.
        correct: Number of correct guesses.
        epsilon: Lower bound on epsilon at 95 % confidence, over both scores.
        delta: Delta of the bound.
        claimed: Claimed epsilon; ``None`` without a claim.
    """

    kind: str
    score: str
    canaries: int
    guesses: int
    correct: int
    epsilon: float
    delta: float
    claimed: float | None

    @property
    def violated(self) -> bool:
        """Whether the bound exceeds the claim."""
        return self.claimed is not None and self.epsilon > self.claimed

    def sentence(self) -> str:
        """Return the result in one sentence."""
        found = (
            f"{self.correct} of {self.guesses} guesses on {self.canaries} {self.kind.replace('_', '-')} canaries were "
            f"correct ({self.score}): epsilon is at least {self.epsilon:.2f} with 95 % confidence"
        )
        if self.claimed is None:
            return f"{found}; no epsilon is claimed"
        if self.violated:
            return f"{found}: the claimed epsilon {self.claimed:g} is VIOLATED"
        return f"{found}, which does not contradict the claimed epsilon {self.claimed:g} and does not prove it"


def check_canaries(members: Members, kind: CanaryKind, count: int) -> None:
    """Raise ValueError for multi-label data, fewer held-out images than canaries, or too few canaries.

    Args:
        members: Held-out images, and the description of the data.
        kind: Kind of the canaries.
        count: Number of canaries.
    """
    held = len(members.held_labels)
    if count < MIN_CANARIES:
        raise ValueError(f"canaries={count}; give at least {MIN_CANARIES}: half of them are guessed")
    if members.spec.multi_label:
        raise ValueError("canaries need one label an image; audit multi-label data without canaries")
    if kind == "mislabelled" and count > held:
        raise ValueError(
            f"canaries={count}, but there are {held} held-out images to mislabel; give {held} at most, or "
            "canary_kind=out_of_distribution"
        )


def make_canaries(members: Members, kind: CanaryKind, count: int, seed: int) -> Split:
    """Return canaries and their labels.

    Args:
        members: Held-out images that mislabelled canaries are copies of, and the description of the data.
        kind: Kind of the canaries.
        count: Number of canaries.
        seed: Seed of the images and labels.

    Raises:
        ValueError: The canaries cannot be made, see `check_canaries`.
    """
    spec, random = members.spec, np.random.default_rng(seed)
    check_canaries(members, kind, count)
    if kind == "mislabelled":
        rows = np.sort(random.choice(len(members.held_labels), count, replace=False))
        images = np.asarray(members.held_images[rows])
        labels = (members.held_labels[rows] + random.integers(1, spec.num_classes, count)) % spec.num_classes
        return images, labels
    noise = torch.from_numpy(random.standard_normal((count, spec.shape[0], 4, 4)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(noise, spec.shape[1:], mode="bilinear")
    pixels = spec.denormalize(2 * smooth).clamp(spec.min_value, spec.max_value).numpy()
    dtype = np.asarray(members.held_images[:1]).dtype
    images = np.rint(pixels).astype(dtype) if dtype == np.uint8 else pixels.astype(dtype)
    return images, random.integers(0, spec.num_classes, count)


def audit_canaries(
    recipe: Recipe,
    data: ArrayDataModule,
    members: Members,
    measurer: Measurer,
    *,
    references: Sequence[MadeSet] = (),
    kind: CanaryKind = "mislabelled",
    count: int = 100,
    claimed: float | None = None,
    delta: float = 0.0,
    seed: int = 0,
) -> CanaryAudit:
    """Insert each canary with probability 1/2, make one set, and guess which are in.

    The most confident quarter is guessed to be in, the least confident quarter to be out. Guesses by the confidence of
    students and by the distance to the set are both made; the bound of the better one holds at 95 % because each is
    tested at 97.5 %.

    Args:
        recipe: Recipe of the set.
        data: Data module with the real images.
        members: Held-out images for the canaries.
        measurer: Measurer whose students are used.
        references: Sets made without canaries, such as shadow sets. Scores are then relative to their medians: an
            image that every network finds hard does not count as absent for that.
        kind: Kind of the canaries.
        count: Number of canaries.
        claimed: Claimed epsilon.
        delta: Claimed delta.
        seed: Seed of the canaries and of their inclusion.
    """
    images, labels = make_canaries(members, kind, count, seed)
    included = np.random.default_rng([seed, 1]).random(count) < 0.5
    whole = SubsetDataModule(
        data, np.arange(len(members)), (np.asarray(images)[included], labels[included]) if included.any() else None
    )
    made = recipe.make(whole)
    asked = replace(members, images=images, labels=labels, strata=labels, units=np.arange(count))
    own = measurer.on(asked)
    scores = _scores(own.measure([made], recipe.ships_images)[0], count)
    others = [_scores(own.measure([one], recipe.ships_images)[0], count) for one in references]
    if others:
        scores = {name: values - np.median([other[name] for other in others], 0) for name, values in scores.items()}
    results = []
    for name, values in scores.items():
        guesses, correct = count_correct(values, included)
        level = 1 - 0.05 / len(scores)
        bound = epsilon_lower_bound(count, guesses, correct, delta, level)
        results.append(CanaryAudit(kind, name, count, guesses, correct, bound, delta, claimed))
    return max(results, key=lambda result: (result.epsilon, result.correct))


def _scores(measured: Measurement, count: int) -> dict[str, NDArray[np.float32]]:
    """Return the scores of the canaries, which are the first candidates."""
    scores = {"confidence": measured.confidence.mean((0, 1))[:count]}
    if "pixels" in measured.distances:
        scores["distance"] = -measured.distances["pixels"][:count]
    return scores


def count_correct(scores: NDArray[np.floating], included: NDArray[np.bool_]) -> tuple[int, int]:
    """Return the number of guesses, and that of correct ones.

    Args:
        scores: Score of each canary; larger for those in the data.
        included: Whether each canary was in the data.
    """
    each = int(len(scores) * GUESSED / 2)
    order = np.argsort(-scores, kind="stable")
    top, bottom = order[:each], order[len(order) - each :]
    return 2 * each, int(included[top].sum() + (~included[bottom]).sum())
