"""Gain in accuracy from adding a synthetic set to real images, at an equal number of training steps."""

from __future__ import annotations

import math
from dataclasses import replace

from lightning_distill.evaluation.metrics.intervals import Estimate, student_interval
from lightning_distill.evaluation.scores import Scores
from lightning_distill.evaluation.students.protocol import Protocol


def same_steps(protocol: Protocol, real: int, images: int) -> Protocol:
    """Adjust the epochs so that ``images`` images take the same number of steps as ``real`` images.

    ``E' + 1 = (E + 1) * ceil(real / B) / ceil(images / B)``, rounded, at least 2 epochs. Without it a larger mixture
    would be trained longer.
    """
    steps = (protocol.epochs + 1) * -(-real // protocol.batch_size)
    return replace(protocol, epochs=max(1, round(steps / -(-images // protocol.batch_size)) - 1))


def paired_gain(with_set: Scores, without: Scores, metric: str = "acc") -> Estimate:
    """Compute the mean paired difference over students and its 95 % t-interval, as fractions.

    Student i with the set is paired with student i without it: same seed, same real images.

    Raises:
        ValueError: There are fewer than two students, or their seeds differ.
    """
    if with_set.seeds != without.seeds:
        raise ValueError(f"student seeds {with_set.seeds} and {without.seeds} differ; only equal seeds can be paired")
    pairs = zip(with_set.values(metric), without.values(metric), strict=True)
    return student_interval([a - b for a, b in pairs])


def summarize(change: Estimate, real: int, set_images: int, ratio: float) -> str:
    """Format the gain in points with a verdict."""
    verdict = "it helps" if change.low > 0 else "it harms" if change.high < 0 else "too close to tell"
    interval = f"95 % interval {100 * change.low:.1f} to {100 * change.high:.1f}"
    if math.isnan(change.low):
        verdict, interval = "too few students to tell", "no interval"
    return (
        f"with {real} real images their {set_images}-image file changes accuracy by {100 * change.mean:+.1f} points at "
        f"ratio {ratio:g} (paired over {change.n} students, {interval}): {verdict}"
    )
