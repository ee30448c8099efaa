"""Interleaved timing A B A B of two implementations in one process."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from lightning_distill.utils.rng import derive_seed, isolated_rng


class InterleavedTimer:
    """Timer that the measured code calls after each step; each call runs one reference step.

    The time between two calls counts for the measured code, including data loading and logging. The reference step has
    its own random stream and does not change the measured run.

    Args:
        other: Function that runs one reference step. ``None`` times the measured code alone.
        warmup: Number of first steps excluded from the statistics (compilation, allocation, caches).
        pairs: Number of measured steps of each implementation.
        seconds: Time limit after the warm-up. At least one pair is measured.
        device: Device of both implementations. CUDA is synchronised before the clock is read.

    Attributes:
        ours: Seconds of each step of the measured code, including the warm-up.
        reference: Seconds of each reference step, including the warm-up.
    """

    def __init__(
        self,
        other: Callable[[], object] | None = None,
        warmup: int = 1,
        pairs: int = 5,
        seconds: float = math.inf,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in (("warmup", warmup), ("pairs", pairs)):
            if value < 1:
                raise ValueError(f"{name}={value}; it must be at least 1")
        self.other, self.warmup, self.pairs, self.seconds = other, warmup, pairs, seconds
        self.device = torch.device(device)
        self.ours: list[float] = []
        self.reference: list[float] = []
        self.start()

    def start(self) -> None:
        """Start the clock."""
        self._warm = self._resumed = self._now()

    def __call__(self) -> bool:
        """Record a step, run a reference step, and return True when the measurement is done."""
        self.ours.append(self._now() - self._resumed)
        if self.other is not None:
            with isolated_rng(derive_seed("turns", len(self.ours))):
                start = self._now()
                self.other()
                self.reference.append(self._now() - start)
        self._resumed = self._now()
        measured = len(self.ours) - self.warmup
        if measured <= 0:
            self._warm = self._resumed
        return measured >= self.pairs or (measured >= 1 and self._resumed - self._warm >= self.seconds)

    @property
    def warm_up(self) -> float:
        """Seconds of the warm-up steps."""
        return sum(self.ours[: self.warmup])

    @property
    def ratio(self) -> float:
        """Speed-up: median reference seconds over median measured seconds; NaN without a reference."""
        return self.median(self.reference) / self.median(self.ours) if self.reference else math.nan

    def median(self, steps: Sequence[float]) -> float:
        """Return the median of the measured steps of ``ours`` or ``reference``."""
        return statistics.median(steps[self.warmup :])

    def quartiles(self, steps: Sequence[float]) -> tuple[float, float]:
        """Return the first and third quartile of the measured steps."""
        measured = steps[self.warmup :]
        if len(measured) == 1:
            return measured[0], measured[0]
        first, _, third = statistics.quantiles(measured, n=4, method="inclusive")
        return first, third

    def row(self) -> dict[str, float | int | str]:
        """Return the timing columns of a CSV row; reference columns are empty without a reference."""
        row: dict[str, float | int | str] = {}
        for side, steps in (("ours", self.ours), ("textbook", self.reference)):
            values = (self.median(steps), *self.quartiles(steps)) if steps else ()
            names = (f"{side}_ms", f"{side}_q1", f"{side}_q3")
            row |= {name: round(1000 * value, 2) for name, value in zip(names, values, strict=False)}
        if self.reference:
            row["ratio"] = round(self.ratio, 2)
        return row | {"pairs": len(self.ours) - self.warmup, "warm_up_s": round(self.warm_up, 1)}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
