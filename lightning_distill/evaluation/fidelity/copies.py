"""Share of images that are near copies of training images, beside the share of held-out images."""

from __future__ import annotations

from lightning_distill.evaluation.fidelity.metric import Column, Comparison, FidelityMetric, Sample
from lightning_distill.utils.statistics import clopper_pearson


def _compute(sample: Sample, comparison: Comparison) -> dict[str, float]:
    rule = comparison.search.rule(sample.formation)
    null = rule.is_copy(rule.null)
    low, high = clopper_pearson(int(null.sum()), len(null))
    return {
        "copies": float(rule.is_copy(comparison.search.embed(sample.pixels)).mean()),
        "copies_null": float(null.mean()),
        "copies_null_low": low,
        "copies_null_high": high,
        "tau": rule.threshold,
    }


def _unresolvable(sample: Sample, comparison: Comparison) -> str:
    return comparison.search.unresolvable


COPIES = FidelityMetric(
    "copies",
    (
        Column("copies", "copies", higher_is_better=False, beside_real=False),
        Column("copies_null", "null rate", beside_real=False),
        Column("copies_null_low", "", beside_real=False),
        Column("copies_null_high", "", beside_real=False),
        Column("tau", "", beside_real=False),
    ),
    _compute,
    _unresolvable,
    uses_features=False,
)
