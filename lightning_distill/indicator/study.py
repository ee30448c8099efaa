"""The study: a line from random-subset accuracy to distilled accuracy for each method, and what it is worth."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy import stats

from lightning_distill.indicator.points import Point
from lightning_distill.indicator.regression import (
    BASELINES,
    fit_line,
    left_out_errors,
    line,
    mean_error,
    root_mean_square,
    same_as_random,
)

Range = tuple[float, float]


@dataclass(frozen=True)
class Prediction:
    """A distilled accuracy that was not measured, with its 95 % interval; fractions."""

    acc: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodFit:
    """``distilled = intercept + slope * random`` for one method. Accuracies and errors are fractions.

    Args:
        method: the distiller's name.
        intercept: a.
        slope: b.
        points: n.
        datasets: they come from.
        error: mean absolute error on a data set that was left out, see `mean_error`.
        spread: its `root_mean_square`.
        worst: the data set with the largest error.
        worst_error: that error.
        error_of_mean: the same error of `mean_of_others`.
        error_of_same: the same error of `same_as_random`.
        error_of_gain: the same error of `gain_of_others`.
        closer: data sets on which the line is closer than all three.
        classes: least and most classes among the points.
        ipc: least and most images per class.
        random_acc: least and most x.
    """

    method: str
    intercept: float
    slope: float
    points: int
    datasets: int
    error: float
    spread: float
    worst: str
    worst_error: float
    error_of_mean: float
    error_of_same: float
    error_of_gain: float
    closer: int
    classes: Range
    ipc: Range
    random_acc: Range

    @property
    def half_width(self) -> float:
        """Half the width of the prediction interval: ``t(.975, G - 1) * spread``, G data sets.

        The errors are of data sets that the line had not seen, so they hold what is unknown of the line too; the
        degrees of freedom count data sets, not points, for points of one data set err together.
        """
        return float(stats.t.ppf(0.975, self.datasets - 1)) * self.spread

    @property
    def useful(self) -> bool:
        """Whether the line was closer on average than every baseline."""
        return self.error < min(self.error_of_mean, self.error_of_same, self.error_of_gain)

    def predict(self, random_acc: float) -> Prediction:
        """The distilled accuracy for a random subset's; an accuracy is between 0 and 1."""
        value = self.intercept + self.slope * random_acc
        ends = value, value - self.half_width, value + self.half_width
        return Prediction(*(min(1.0, max(0.0, end)) for end in ends))

    def describe_error(self) -> str:
        """What a prediction by this line is worth, in a sentence."""
        told = (
            f"{self.method}: fitted without a data set, the line missed that one by {100 * self.error:.1f} points on "
            f"average ({self.worst}: {100 * self.worst_error:.1f}); taking the random subset's accuracy itself missed "
            f"by {100 * self.error_of_same:.1f}, that plus the mean gain elsewhere by {100 * self.error_of_gain:.1f}, "
            f"the mean accuracy elsewhere by {100 * self.error_of_mean:.1f}. "
        )
        if self.useful:
            return f"{told}Closer than all three on {self.closer} of {self.datasets} data sets."
        return f"{told}That is no better than guessing: do not rely on it."


@dataclass(frozen=True)
class Study:
    """Lines, and what they were fitted to.

    Args:
        lines: one a method.
        points: n of all.
        datasets: names.
        networks: of the students.
        protocols: of the students.
        splits: scored on.
        fit_steps: least and most image steps of a distillation; ``None`` where no row says.
        unknown_steps: points whose row does not say.
        unlike: points whose two rows differ in more than what was learned from, see `Point.differs`.
        sources: names of the CSVs.
        date: of the fit.
        command: that made it.
        caution: what the numbers cannot tell, for whoever opens the file.
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
        """What the study is, in two sentences."""
        steps = "of unknown length"
        if self.fit_steps is not None:
            steps = f"of {self.fit_steps[0]} to {self.fit_steps[1]} image steps"
            steps += f" ({self.unknown_steps} points do not say)" if self.unknown_steps else ""
        return (
            f"Study: {self.points} sets of {len(self.datasets)} data sets ({', '.join(self.datasets)}), scored on "
            f"{' and '.join(self.splits)}, students {', '.join(self.networks)} by {', '.join(self.protocols)}. "
            f"Distillations {steps}: small budgets, not those of the papers; a longer one may reach more. "
            f"{len(self.datasets)} data sets make wide intervals."
        )

    def out_of_range(
        self, line: MethodFit, classes: int, ipc: int, random_acc: float, network: str, protocol: str
    ) -> list[str]:
        """In what a question lies outside of what the line was fitted to; empty where inside.

        Args:
            line: of the method.
            classes: K of the data.
            ipc: images per class.
            random_acc: accuracy of random subsets, a fraction.
            network: of the students.
            protocol: of the students.
        """
        asked: list[tuple[str, float, Range, int]] = [
            ("classes", classes, line.classes, 1),
            ("ipc", ipc, line.ipc, 1),
            ("random accuracy in percent", 100 * random_acc, line.random_acc, 100),
        ]
        told = [
            f"{name} {value:.4g} (study: {scale * low:.4g} to {scale * high:.4g})"
            for name, value, (low, high), scale in asked
            if not scale * low <= value <= scale * high
        ]
        if network not in self.networks:
            told.append(f"network {network} (study: {', '.join(self.networks)})")
        if protocol not in self.protocols:
            told.append(f"protocol {protocol} (study: {', '.join(self.protocols)})")
        return told

    def to_json(self) -> str:
        """Plain JSON, rounded to what the measurements hold."""
        return json.dumps(_rounded(asdict(self)), indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Study:
        """The inverse of `to_json`.

        Raises:
            ValueError: not such JSON.
        """
        try:
            state = json.loads(text)
            lines = tuple(MethodFit(**_tuples(own)) for own in state.pop("lines"))
            return cls(lines=lines, **_tuples(state))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a study ({error}); benchmarks/indicator.py writes one") from error


def fit_line_of(method: str, points: Sequence[Point]) -> MethodFit:
    """One method's line with its errors.

    Raises:
        ValueError: its points are of fewer than two data sets.
    """
    own = [point for point in points if point.method == method]
    errors = {name: left_out_errors(own, rule) for name, rule in {"line": line, **BASELINES}.items()}
    each = {name: {data: fmean(map(abs, e)) for data, e in found.items()} for name, found in errors.items()}
    worst = max(each["line"], key=lambda data: each["line"][data])
    intercepts, slope = fit_line(own)
    return MethodFit(
        method=method,
        intercept=intercepts[method],
        slope=slope,
        points=len(own),
        datasets=len(errors["line"]),
        error=mean_error(errors["line"]),
        spread=root_mean_square(errors["line"]),
        worst=worst,
        worst_error=each["line"][worst],
        error_of_mean=mean_error(errors["mean"]),
        error_of_same=mean_error(errors["same"]),
        error_of_gain=mean_error(errors["gain"]),
        closer=sum(each["line"][data] < min(each[name][data] for name in BASELINES) for data in each["line"]),
        classes=_range([point.classes for point in own]),
        ipc=_range([point.ipc for point in own]),
        random_acc=_range([point.random_acc for point in own]),
    )


def fit_study(points: Sequence[Point], date: str = "", command: str = "", caution: str = "") -> Study:
    """A line for every method that has points of at least two data sets.

    Args:
        points: of all methods.
        date: of the fit.
        command: that makes it again.
        caution: what the numbers cannot tell.

    Raises:
        ValueError: no method has points of two data sets.
    """
    left_out_errors(points, same_as_random)  # refuses a study of one data set
    methods = dict.fromkeys(point.method for point in points)
    several = [m for m in methods if len({point.dataset for point in points if point.method == m}) > 1]
    if not several:
        raise ValueError(f"no method has points of 2 data sets ({', '.join(methods)}); add rows of another data set")
    steps = [point.fit_steps for point in points if point.fit_steps is not None]
    return Study(
        lines=tuple(fit_line_of(method, points) for method in several),
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


def read_study(path: str | Path | None = None) -> Study:
    """The study of a JSON file; by default the one shipped with the package.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a study.
    """
    if path is None:
        return Study.from_json(files("lightning_distill.indicator").joinpath("study.json").read_text("utf-8"))
    if not Path(path).is_file():
        raise FileNotFoundError(f"no study {path}; benchmarks/indicator.py writes one")
    return Study.from_json(Path(path).read_text("utf-8"))


def _range(values: Sequence[float]) -> Range:
    return min(values), max(values)


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
