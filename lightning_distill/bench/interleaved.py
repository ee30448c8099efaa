"""Timing two things in turn, A B A B, in one process: what slows the machine down slows both."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from lightning_distill.utils.rng import derive_seed, isolated_rng


class InterleavedTimer:
    """Seconds of ours, which calls this after each of its steps, and of the other, which then takes one step.

    What lies between two calls counts as ours: loading data, logging, everything a user waits for. The other draws
    from random streams of its own, so that ours is not changed by being timed.

    Args:
        other: takes one step; ``None`` times ours alone.
        warmup: first steps of both that are kept apart: compiling, allocating, filling caches.
        pairs: steps of each that are measured.
        seconds: as many after the warm-up it is enough, as soon as one pair has been measured.
        device: of both; CUDA is waited for before the clock is read.

    Attributes:
        ours: seconds of every step, those of the warm-up first.
        theirs: the same of the other.
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
        self.theirs: list[float] = []
        self.begin()

    def begin(self) -> None:
        """Start the clock of ours."""
        self._warm = self._resumed = self._now()

    def __call__(self) -> bool:
        """Ours has taken a step: note it, let the other take one, and say whether it is enough."""
        self.ours.append(self._now() - self._resumed)
        if self.other is not None:
            with isolated_rng(derive_seed("turns", len(self.ours))):
                start = self._now()
                self.other()
                self.theirs.append(self._now() - start)
        self._resumed = self._now()
        measured = len(self.ours) - self.warmup
        if measured <= 0:
            self._warm = self._resumed
        return measured >= self.pairs or (measured >= 1 and self._resumed - self._warm >= self.seconds)

    @property
    def warm_up(self) -> float:
        """Seconds of ours until it was warm."""
        return sum(self.ours[: self.warmup])

    @property
    def ratio(self) -> float:
        """How many times faster ours is: median of the other over median of ours; NaN without another."""
        return self.median(self.theirs) / self.median(self.ours) if self.theirs else math.nan

    def median(self, steps: Sequence[float]) -> float:
        """Median seconds of the measured steps among ``ours`` or ``theirs``."""
        return statistics.median(steps[self.warmup :])

    def quartiles(self, steps: Sequence[float]) -> tuple[float, float]:
        """First and third quartile of the measured steps; of a single one, itself."""
        measured = steps[self.warmup :]
        if len(measured) == 1:
            return measured[0], measured[0]
        first, _, third = statistics.quantiles(measured, n=4, method="inclusive")
        return first, third

    def row(self) -> dict[str, float | int | str]:
        """The numbers of a CSV row; the other's are empty where there is none."""
        row: dict[str, float | int | str] = {}
        for side, steps in (("ours", self.ours), ("textbook", self.theirs)):
            values = (self.median(steps), *self.quartiles(steps)) if steps else ()
            names = (f"{side}_ms", f"{side}_q1", f"{side}_q3")
            row |= {name: round(1000 * value, 2) for name, value in zip(names, values, strict=False)}
        if self.theirs:
            row["ratio"] = round(self.ratio, 2)
        return row | {"pairs": len(self.ours) - self.warmup, "warm_up_s": round(self.warm_up, 1)}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()
