"""Entries of a card about the guard: the gain over the start, and the resemblance to training images."""

from __future__ import annotations

import math
from collections.abc import Mapping

from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.report.redact import plain, redact_paths

#: Sets whose resemblance to training images a card holds, and their names in the report.
COMPARED = {"set": "set", "start": "start", "held_out": "validation images"}


def gain_mark(card: Mapping[str, object]) -> str:
    """Return the sentence of a marked set; empty for a set that beats its start, and where nothing was measured."""
    gain = card.get("gain")
    if not isinstance(gain, Mapping) or not gain.get("mark"):
        return ""
    return redact_paths(str(gain.get("sentence") or gain["mark"]))


def gain_facts(card: Mapping[str, object]) -> dict[str, str]:
    """Return the gain and the scores of the yardsticks by label; empty for a card without them."""
    gain = card.get("gain")
    if not isinstance(gain, Mapping):
        return {}
    if not gain.get("measured"):
        return {"gain over the start": f"not measured: {plain(gain.get('reason')) or 'no reason given'}"}
    metric = METRICS.get(str(gain.get("metric")))
    scale, unit = (100, " %") if metric is None or metric.percent else (1, "")
    scores = gain.get("yardsticks")
    named = {"set": gain.get("score"), **(dict(scores) if isinstance(scores, Mapping) else {})}
    yardsticks = ", ".join(f"{plain(name)} {_number(value, scale)}" for name, value in named.items())
    seeds = gain.get("seeds")
    students = f"; {len(seeds)} students" if isinstance(seeds, list) else ""
    over = {"gain over the start": ("gain", "standard_error")}
    if gain.get("best_pick"):
        over[f"gain over {plain(gain['best_pick'])}"] = ("gain_over_best_pick", "standard_error_over_best_pick")
    points = " points" if unit else ""
    label = metric.label if metric is not None else plain(gain.get("metric"))
    return {
        f"{label} on val": f"{yardsticks}{unit}{students}",
        **{
            name: f"{_number(gain.get(value), scale, '+')} ± {_number(gain.get(error), scale)}{points} (standard error)"
            for name, (value, error) in over.items()
        },
    }


def resemblance_facts(card: Mapping[str, object]) -> dict[str, str]:
    """Return median and maximum of correlation and SSIM to the nearest training image by label; empty without them."""
    entries = card.get("resemblance")
    if not isinstance(entries, Mapping):
        return {}
    facts = {}
    for key, label in {"correlation": "correlation", "ssim": "SSIM"}.items():
        parts = []
        for name, text in COMPARED.items():
            entry = entries.get(name)
            values = entry.get(key) if isinstance(entry, Mapping) else None
            if isinstance(values, Mapping):
                parts.append(f"{text} {_number(values.get('median'))} (maximum {_number(values.get('max'))})")
        if parts:
            facts[f"{label} to the nearest training image, median"] = ", ".join(parts)
    return facts


def _number(value: object, scale: float | None = None, sign: str = "") -> str:
    """Format a number of a card: with one decimal where it is scaled, else with two."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return "undefined"
    return f"{value:.2f}" if scale is None else f"{value * scale:{sign}.1f}"
