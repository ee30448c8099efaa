"""Copy detection: images of a set that are nearer to training images than held-out images are. Descriptive only."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_distill.utils.statistics import clopper_pearson

Floats = NDArray[np.float32]
#: Percentile of the correlation of training images with their nearest held-out image.
PERCENTILE = 95.0
#: Largest number of correlations held at once.
PAIRS = 1 << 24


@dataclass(frozen=True)
class CopyCounts:
    """Copy detection of a set of M images.

    Args:
        threshold: Correlation tau above which two images count as copies.
        memorised: Share N_mem of training images with an image of the set above tau.
        memorised_null: The same share for M held-out images in place of the set.
        copies: Share N_copies of images of the set with a training image above tau.
        copies_null: The same share for held-out images.
        distance_ratio: Median ratio of the distances to the nearest and the second nearest training image.
        distance_ratio_null: The same for held-out images.
        closer_to_train: Share of images of the set that are nearer to a training image than to any of an equal number
            of held-out images; 0.5 where training images play no part.
        closer_low: Lower bound of its 95 % interval.
        closer_high: Upper bound of its 95 % interval.
        images: Number of images of the set.
        held_out: Number of held-out images.
    """

    threshold: float
    memorised: float
    memorised_null: float
    copies: float
    copies_null: float
    distance_ratio: float
    distance_ratio_null: float
    closer_to_train: float
    closer_low: float
    closer_high: float
    images: int
    held_out: int

    def to_dict(self) -> dict[str, float]:
        """Return plain data for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class CopyRule:
    """Tau rule: an image is a near copy if its correlation with a training image is above a threshold.

    Args:
        train: Embeddings ``(n, F)`` of the training images, of unit length.
        threshold: Correlation tau, the 95th percentile of that of training images with their nearest held-out image.
        null: Embeddings of the other half of the held-out images, which did not set the threshold.
    """

    train: Floats
    threshold: float
    null: Floats

    @classmethod
    def calibrate(cls, train: Floats, held_out: Floats, random: np.random.Generator) -> CopyRule:
        """Set the threshold by one half of the held-out images and keep the other half.

        Args:
            train: Embeddings ``(n, F)`` of the training images, of unit length.
            held_out: Embeddings ``(m, F)`` of held-out images, at least four.
            random: Random numbers of the halves.

        Raises:
            ValueError: There are fewer than two training or four held-out images.

        Reference:
            Dar et al.: Unconditional Latent Diffusion Models Memorize Patient Imaging Data, arXiv 2402.01054.
        """
        if len(train) < 2 or len(held_out) < 4:
            counts = f"{len(train)}, {len(held_out)}"
            raise ValueError(f"copy detection needs 2 training and 4 held-out images, not {counts}")
        order = random.permutation(len(held_out))
        calibration, null = held_out[order[: len(order) // 2]], held_out[order[len(order) // 2 :]]
        return cls(train, float(np.percentile(best(train, calibration)[:, 0], PERCENTILE)), null)

    def is_copy(self, images: Floats) -> NDArray[np.bool_]:
        """Return whether each image is a near copy of a training image, ``(M,)``.

        Args:
            images: Embeddings ``(M, F)`` of unit length.
        """
        return best(images, self.train)[:, 0] > self.threshold

    @property
    def null_rate(self) -> float:
        """Share of held-out images that the rule calls copies, although they have no part in any set."""
        return float(self.is_copy(self.null).mean())


def detect_copies(train: Floats, held_out: Floats, images: Floats, seed: int = 0) -> CopyCounts:
    """Compare a set with its training images in an embedding, calibrated on held-out images.

    Half of the held-out images set the threshold, the other half give the rates that images without any connection to
    the training images reach.

    Args:
        train: Embeddings ``(n, F)`` of the training images, of unit length.
        held_out: Embeddings ``(m, F)`` of held-out images, at least four.
        images: Embeddings ``(M, F)`` of the decoded images of the set.
        seed: Seed of the halves of the held-out images.

    Raises:
        ValueError: There are fewer than two training or four held-out images.

    Reference:
        Dar et al.: Unconditional Latent Diffusion Models Memorize Patient Imaging Data, arXiv 2402.01054.
    """
    random = np.random.default_rng(seed)
    order = np.random.default_rng(seed).permutation(len(held_out))
    rule = CopyRule.calibrate(train, held_out, random)
    threshold, null = rule.threshold, rule.null
    equal = min(len(train), len(held_out))
    to_train = best(images, train[random.permutation(len(train))[:equal]])[:, 0]
    to_held = best(images, held_out[order[:equal]])[:, 0]
    differs = to_train != to_held
    closer = int((to_train > to_held)[differs].sum())
    low, high = clopper_pearson(closer, max(1, int(differs.sum())))
    own, reference = best(images, train, 2), best(null, train, 2)
    return CopyCounts(
        threshold=threshold,
        memorised=float((best(train, images)[:, 0] > threshold).mean()),
        memorised_null=float((best(train, null[: len(images)])[:, 0] > threshold).mean()),
        copies=float((own[:, 0] > threshold).mean()),
        copies_null=float((reference[:, 0] > threshold).mean()),
        distance_ratio=_ratio(own),
        distance_ratio_null=_ratio(reference),
        closer_to_train=closer / max(1, int(differs.sum())),
        closer_low=low,
        closer_high=high,
        images=len(images),
        held_out=len(held_out),
    )


def mean_counts(parts: list[CopyCounts]) -> CopyCounts:
    """Return the mean of each number over several sets; the interval of the share is that of all their images.

    Args:
        parts: Copy detection of each set.
    """
    means = {name: float(np.mean([part.to_dict()[name] for part in parts])) for name in parts[0].to_dict()}
    images = sum(part.images for part in parts)
    low, high = clopper_pearson(means["closer_to_train"] * images, images)
    counts = {"images": images, "held_out": parts[0].held_out}
    return CopyCounts(**{**means, "closer_low": low, "closer_high": high, **counts})  # type: ignore[arg-type]


def best(queries: Floats, pool: Floats, count: int = 1) -> Floats:
    """Return the largest correlations of each query with a pool, in decreasing order, ``(Q, count)``.

    Args:
        queries: Embeddings ``(Q, F)`` of unit length.
        pool: Embeddings ``(P, F)`` of unit length, at least ``count``.
        count: Number of correlations of each query.
    """
    step = max(1, PAIRS // max(1, len(pool)))
    parts = []
    for start in range(0, len(queries), step):
        products = queries[start : start + step] @ pool.T
        parts.append(-np.sort(np.partition(-products, count - 1, axis=1)[:, :count], axis=1))
    return np.concatenate(parts) if parts else np.empty((0, count), np.float32)


def _ratio(correlations: Floats) -> float:
    """Return the median ratio of the distances ``sqrt(2 - 2 r)`` to the nearest two images."""
    distances = np.sqrt(np.maximum(2 - 2 * correlations.astype(np.float64), 0))
    return float(np.median(distances[:, 0] / np.maximum(distances[:, 1], 1e-12)))
