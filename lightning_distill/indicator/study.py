"""``Study``: linear fits of several methods with a description of their points, read from and written to JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from lightning_distill.indicator.method_fit import MethodFit, Range, fit_method
from lightning_distill.indicator.points import Point
from lightning_distill.indicator.regression import left_out_errors, same_as_random


@dataclass(frozen=True)
class Study:
    """Linear fits of several methods, and a description of their points.

    Args:
        lines: One fit for each method.
        points: Number of points of all methods.
        datasets: Names of the data sets.
        networks: Networks of the students.
        protocols: Protocols of the students.
        splits: Splits of the scored images.
        fit_steps: Minimum and maximum image steps of the distillations; ``None`` if no row has them.
        unknown_steps: Number of points without image steps.
        unlike: Number of points with other differences between the two rows, see `Point.differs`.
        sources: Names of the CSVs.
        date: Date of the fit.
        command: Command that fitted the study.
        caution: Limits of the study, for readers of the file.
    """

    lines: tuple[MethodFit, ...]
    points: int
    datasets: tuple[str, ...]
    networks: tuple[str, ...]
    protocols: tuple[str, ...]
    splits: tuple[str, ...]
    fit_steps: tuple[int, int] | None
    unknown_steps: int
    unlike: int
    sources: tuple[str, ...]
    date: str = ""
    command: str = ""
    caution: str = ""

    def about(self) -> str:
        """Describe the points of the study."""
        steps = "with an unknown number of steps"
        if self.fit_steps is not None:
            steps = f"with {self.fit_steps[0]} to {self.fit_steps[1]} image steps"
            steps += f" (unknown for {self.unknown_steps} points)" if self.unknown_steps else ""
        return (
            f"Study: {self.points} distilled sets from {len(self.datasets)} data sets ({', '.join(self.datasets)}), "
            f"scored on {' and '.join(self.splits)}; students: {', '.join(self.networks)}; protocol: "
            f"{', '.join(self.protocols)}. "
            f"Distillations {steps}: small budgets compared with the papers; longer distillation may reach more. "
            f"With {len(self.datasets)} data sets the intervals are wide."
        )

    def out_of_range(
        self, fit: MethodFit, classes: int, ipc: int, random_acc: float, network: str, protocol: str
    ) -> list[str]:
        """List the values that lie outside of the range of the study; empty if all lie inside.

        Args:
            fit: Fit of the method.
            classes: Number of classes of the data.
            ipc: Images per class.
            random_acc: Accuracy of random subsets, a fraction.
            network: Network of the students.
            protocol: Protocol of the students.
        """
        values: list[tuple[str, float, Range, int]] = [
            ("classes", classes, fit.classes, 1),
            ("ipc", ipc, fit.ipc, 1),
            ("random accuracy in percent", 100 * random_acc, fit.random_acc, 100),
        ]
        messages = [
            f"{name} {value:.4g} (study: {scale * low:.4g} to {scale * high:.4g})"
            for name, value, (low, high), scale in values
            if not scale * low <= value <= scale * high
        ]
        if network not in self.networks:
            messages.append(f"network {network} (study: {', '.join(self.networks)})")
        if protocol not in self.protocols:
            messages.append(f"protocol {protocol} (study: {', '.join(self.protocols)})")
        return messages

    def to_json(self) -> str:
        """Serialise to JSON, with numbers rounded to six decimals."""
        return json.dumps(_rounded(asdict(self)), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Parse the output of `to_json`.

        Args:
            text: JSON.

        Raises:
            ValueError: If the text is not JSON of a study.
        """
        try:
            state = json.loads(text)
            lines = tuple(MethodFit(**_tuples(own)) for own in state.pop("lines"))
            return cls(lines=lines, **_tuples(state))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a study ({error}); benchmarks/indicator.py writes one") from error


def fit_study(points: Sequence[Point], date: str = "", command: str = "", caution: str = "") -> Study:
    """Fit every method that has points of at least two data sets.

    Args:
        points: Points of all methods.
        date: Date of the fit.
        command: Command that reproduces the study.
        caution: Limits of the study.

    Raises:
        ValueError: If no method has points of two data sets.
    """
    left_out_errors(points, same_as_random)  # raises for a single data set
    methods = dict.fromkeys(point.method for point in points)
    several = [m for m in methods if len({point.dataset for point in points if point.method == m}) > 1]
    if not several:
        raise ValueError(f"no method has points of 2 data sets ({', '.join(methods)}); add rows of another data set")
    steps = [point.fit_steps for point in points if point.fit_steps is not None]
    return Study(
        lines=tuple(fit_method(method, points) for method in several),
        points=len(points),
        datasets=_names(point.dataset for point in points),
        networks=_names(point.network for point in points),
        protocols=_names(point.protocol for point in points),
        splits=_names(point.split for point in points),
        fit_steps=(min(steps), max(steps)) if steps else None,
        unknown_steps=len(points) - len(steps),
        unlike=sum(bool(point.differs) for point in points),
        sources=_names(point.file for point in points),
        date=date,
        command=command,
        caution=caution,
    )


def read_study(path: str | os.PathLike[str] | None = None) -> Study:
    """Read a study from a JSON file.

    Args:
        path: Path of the file; the study of this package by default.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not a study.

    Example:
        >>> fit = read_study().lines[0]
        >>> 0 <= fit.predict(random_acc=0.5).acc <= 1
        True
    """
    if path is None:
        return Study.from_json(files("lightning_distill.indicator").joinpath("study.json").read_text("utf-8"))
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no study {path}; benchmarks/indicator.py writes one")
    return Study.from_json(Path(path).read_text("utf-8"))


def _names(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, Mapping):
        return {key: _rounded(own) for key, own in value.items()}
    return [_rounded(own) for own in value] if isinstance(value, (list, tuple)) else value


def _tuples(state: Mapping[str, object]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in state.items()}
