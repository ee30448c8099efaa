"""Plain data as JSON has it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def without_nan(value: Any) -> Any:
    """Return plain data with None for every number that JSON does not have: NaN and infinity.

    Args:
        value: Numbers, texts, and lists, tuples and mappings of them.

    Example:
        >>> without_nan({"std": float("nan"), "scores": (0.5, float("inf"))})
        {'std': None, 'scores': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
