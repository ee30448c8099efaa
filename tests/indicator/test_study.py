"""Linear fits of the study, their held-out errors, and the included JSON file."""

from __future__ import annotations

import math
import runpy
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from lightning_distill.indicator import Point, Study, fit_study, match_points, read_study
from lightning_distill.indicator.regression import (
    BASELINES,
    fit_line,
    gain_of_others,
    left_out_errors,
    linear_fit,
    mean_error,
    mean_of_others,
    root_mean_square,
    same_as_random,
)


def point(dataset, x, y, method="DMDistiller", **more):
    defaults = {"ipc": 10, "classes": 3, "network": "convnet", "protocol": "quick", "fit_steps": 100, "file": "r.csv"}
    return Point(dataset, method, random_acc=x, acc=y, **{**defaults, **more})


def cloud(seed=0, methods=("DMDistiller",), sets="abcde", noise=0.03):
    random = np.random.default_rng(seed)
    return [
        point(name, x, 0.2 + 0.1 * m + 0.7 * x + random.normal(0, noise), method, ipc=1 + 9 * i)
        for m, method in enumerate(methods)
        for name in sets
        for i, x in enumerate(random.uniform(0.2, 0.8, 2))
    ]


def test_the_line_is_least_squares_with_an_intercept_for_each_method():
    points = cloud(methods=("A", "B", "C"))
    columns = [[point.method == m for m in "ABC"] + [point.random_acc] for point in points]
    expected = np.linalg.lstsq(np.array(columns, float), [point.acc for point in points], rcond=None)[0]
    intercepts, slope = fit_line(points)
    assert [*intercepts.values(), slope] == pytest.approx(expected)
    own = [point for point in points if point.method == "A"]
    b, a = np.polyfit([p.random_acc for p in own], [p.acc for p in own], 1)
    intercepts, slope = fit_line(own)
    assert (intercepts["A"], slope) == pytest.approx((a, b))


def test_where_random_accuracy_does_not_vary_the_line_is_flat():
    assert fit_line([point("a", 0.5, 0.6), point("b", 0.5, 0.8)]) == ({"DMDistiller": pytest.approx(0.7)}, 0)


def test_errors_of_left_out_data_sets_by_plain_loops():
    points = [*cloud(), point("a", 0.3, 0.9)]
    expected = {"line": {}, "mean": {}, "same": {}, "gain": {}}
    for name in "abcde":
        x, y = [], []
        for p in points:
            if p.dataset != name:
                x.append(p.random_acc)
                y.append(p.acc)
        fitted = stats.linregress(x, y)
        for p in points:
            if p.dataset == name:
                guesses = {
                    "line": fitted.intercept + fitted.slope * p.random_acc,
                    "mean": sum(y) / len(y),
                    "same": p.random_acc,
                    "gain": p.random_acc + sum(y) / len(y) - sum(x) / len(x),
                }
                for rule, guess in guesses.items():
                    expected[rule].setdefault(name, []).append(guess - p.acc)
    rules = {"line": linear_fit, "mean": mean_of_others, "same": same_as_random, "gain": gain_of_others}
    for name, rule in rules.items():
        errors = left_out_errors(points, rule)
        assert {data: pytest.approx(e) for data, e in expected[name].items()} == errors
        by_set = [sum(abs(e) for e in own) / len(own) for own in expected[name].values()]
        assert mean_error(errors) == pytest.approx(sum(by_set) / 5)
        squares = [sum(e * e for e in own) / len(own) for own in expected[name].values()]
        assert root_mean_square(errors) == pytest.approx(math.sqrt(sum(squares) / 5))
    assert len(expected["line"]["a"]) == 3


def test_a_perfect_line_has_no_error_and_noise_has_one():
    assert mean_error(left_out_errors(cloud(noise=0), linear_fit)) == pytest.approx(0, abs=1e-9)
    sizes = [mean_error(left_out_errors(cloud(noise=noise), linear_fit)) for noise in (0.01, 0.05, 0.2)]
    assert sizes == sorted(sizes)
    assert sizes[0] > 0.001


def test_a_method_that_the_others_lack_is_skipped():
    points = [*cloud(), point("a", 0.3, 0.5, "Rare")]
    errors = left_out_errors(points, linear_fit)
    assert [len(own) for own in errors.values()] == [2] * 5


def test_one_data_set_is_refused():
    alone = [point("a", 0.2, 0.5), point("a", 0.4, 0.6)]
    with pytest.raises(ValueError, match=r"points of 1 data set \(a\); .* add rows of another data set"):
        fit_study(alone)
    with pytest.raises(ValueError, match="0 data set"):
        fit_study([])
    with pytest.raises(ValueError, match="no method has points of 2 data sets"):
        fit_study([*alone, point("b", 0.2, 0.5, "Other")])
    study = fit_study([*cloud(), point("a", 0.2, 0.5, "Other")])
    assert [line.method for line in study.lines] == ["DMDistiller"]


def test_a_fit_has_its_errors_and_ranges():
    points = cloud()
    study = fit_study(points)
    (fitted,) = study.lines
    assert fitted.error == mean_error(left_out_errors(points, linear_fit))
    for name, rule in BASELINES.items():
        assert getattr(fitted, f"error_of_{name}") == mean_error(left_out_errors(points, rule))
    assert fitted.worst_error == max(np.mean(np.abs(own)) for own in left_out_errors(points, linear_fit).values())
    assert (fitted.points, fitted.datasets, fitted.classes, fitted.ipc) == (10, 5, (3, 3), (1, 10))
    assert fitted.random_acc == (min(p.random_acc for p in points), max(p.random_acc for p in points))
    assert fitted.useful
    assert "closer than all three" in fitted.describe_error()
    noise = np.random.default_rng(1).permutation([p.acc for p in points])
    (bad,) = fit_study([replace(p, acc=float(y)) for p, y in zip(points, noise, strict=True)]).lines
    assert not bad.useful
    assert "do not rely on it" in bad.describe_error()
    assert f"{100 * bad.error:.1f} points" in bad.describe_error()


def test_predictions_rise_with_random_accuracy_and_stay_accuracies():
    (fitted,) = fit_study(cloud()).lines
    predictions = [fitted.predict(x) for x in np.linspace(0, 1, 11)]
    assert [p.acc for p in predictions] == sorted(p.acc for p in predictions)
    assert all(0 <= p.low <= p.acc <= p.high <= 1 for p in predictions)
    middle = fitted.predict(0.5)
    assert middle.acc == pytest.approx(fitted.intercept + fitted.slope * 0.5)
    assert middle.high - middle.low == pytest.approx(2 * 2.776445 * fitted.spread, rel=1e-5)  # t(.975, 4)


def test_prediction_intervals_hold_data_sets_not_seen():
    """Data sets err together; 95 % intervals of studies of six should hold about that share of a seventh's points."""

    def world(random, sets):
        return [
            point(name, x, 0.2 + 0.6 * x + shift + random.normal(0, 0.01))
            for name in sets
            for shift in [random.normal(0, 0.05)]
            for x in random.uniform(0.3, 0.7, 2)
        ]

    hits = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        (fitted,) = fit_study(world(random, "abcdef")).lines
        for p in world(random, "g"):
            prediction = fitted.predict(p.random_acc)
            hits.append(prediction.low <= p.acc <= prediction.high)
    assert 0.91 <= np.mean(hits) <= 0.995


def test_values_outside_of_the_study_are_listed():
    study = fit_study(cloud())
    (fitted,) = study.lines
    query = {"classes": 3, "ipc": 10, "random_acc": 0.5, "network": "convnet", "protocol": "quick"}
    assert study.out_of_range(fitted, **query) == []
    for change, message in (
        ({"classes": 7}, "classes 7 (study: 3 to 3)"),
        ({"ipc": 50}, "ipc 50 (study: 1 to 10)"),
        ({"random_acc": 0.05}, "random accuracy in percent 5 (study: "),
        ({"network": "mlp"}, "network mlp (study: convnet)"),
        ({"protocol": "tiny"}, "protocol tiny (study: quick)"),
    ):
        (listed,) = study.out_of_range(fitted, **{**query, **change})
        assert listed.startswith(message)
    assert study.out_of_range(fitted, **{**query, "random_acc": fitted.random_acc[0]}) == []


def test_a_study_comes_back_from_json(tmp_path):
    study = fit_study([*cloud(), point("a", 0.4, 0.5, fit_steps=None)], "2026-01-01", "a command", "careful")
    again = Study.from_json(study.to_json())
    assert again.datasets == study.datasets
    assert again.lines[0].slope == pytest.approx(study.lines[0].slope, abs=1e-6)
    assert Study.from_json(again.to_json()) == again
    assert "100 to 100 image steps (unknown for 1 points)" in again.about()
    assert "small budgets" in again.about()
    (tmp_path / "s.json").write_text(study.to_json())
    assert read_study(tmp_path / "s.json") == again
    with pytest.raises(FileNotFoundError, match="no study"):
        read_study(tmp_path / "none.json")
    for text in ("{}", "[]", "nothing"):
        with pytest.raises(ValueError, match=r"not a study|Expecting value"):
            Study.from_json(text)


def test_the_shipped_study_is_what_the_committed_rows_give():
    shipped = read_study()
    script = runpy.run_path(str(ROOT / "benchmarks" / "indicator.py"))
    points, _ = match_points(script["read_tables"](ROOT / "benchmarks" / "results" / name for name in shipped.sources))
    fitted = fit_study(points, shipped.date, shipped.command, shipped.caution)
    assert Study.from_json(fitted.to_json()) == shipped, "rows have changed: run python benchmarks/indicator.py"
    assert "small" in shipped.caution
    assert len(shipped.lines) >= 3


def test_the_table_in_the_readme_has_the_committed_numbers():
    table = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))["indicator_table"]()
    rows = [row for row in table.splitlines() if row.startswith(("| D", "| KRR", "| MTT", "| all"))]
    readme = (ROOT / "lightning_distill/indicator/README.md").read_text()
    assert len(rows) == 7
    for row in rows:
        assert row in readme
