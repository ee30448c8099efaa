"""One self-contained HTML page: no script, no network, pictures as ``data:`` URIs; for screens, phones and paper."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from lightning_distill._version import __version__
from lightning_distill.evaluation.metrics.classification import compute_metrics
from lightning_distill.evaluation.metrics.intervals import Estimate, bootstrap_interval, student_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.report.captions import against_words, confusion_words, recall_words, reliability_words
from lightning_distill.report.curves import against_ipc
from lightning_distill.report.html import figure_tag
from lightning_distill.report.redact import redact_paths
from lightning_distill.report.results import THEMES, Group, called, grouped
from lightning_distill.report.runs import Run
from lightning_distill.report.sections import Neighbours, plain, set_section
from lightning_distill.report.stylesheet import STYLE
from lightning_distill.report.tables import derived_table, estimates_table, making_list, numbering, results_table
from lightning_distill.visualization.figures import figures
from lightning_distill.visualization.style import svg_picture

#: Scores that are drawn against images per class.
DRAWN = ("acc", "balanced_acc")
#: What a browser may load: nothing but what is in the file.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
HEADLINE = {"acc": "accuracy, %", "balanced_acc": "balanced accuracy, %", "auroc": "AUROC, %"}


def page(runs: Sequence[Run], neighbours: Mapping[int, Neighbours], date: str) -> str:
    """The whole page.

    Args:
        runs: what was given, in its order.
        neighbours: of the sets, by the place of their run among ``runs``.
        date: of the report.
    """
    groups = grouped([row for run in runs for row in run.results])
    ordered = [row for group in groups for row in group.results]
    numbers = numbering(ordered)
    title = f"Report: {', '.join(_datasets(runs)) or 'no data'}"
    sections = [results_section(group, numbers) for group in groups] + networks_sections(groups)
    sections += [set_section(run, neighbours.get(i)) for i, run in enumerate(runs) if run.synthetic is not None]
    sections += [
        predictions_section(name, predictions, run.name)
        for run in runs
        for name, predictions in run.predictions.items()
    ]
    if numbers:
        sections.append(
            f"<section><h2>How each row was made</h2><p>The numbers are those of the last column of the tables. "
            f"A command makes its rows again where the same files lie in the same places.</p>"
            f"{making_list(ordered, numbers)}</section>"
        )
    return (
        "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
        "<meta name=viewport content='width=device-width, initial-scale=1'>\n"
        "<meta name=color-scheme content='light dark'>\n"
        f'<meta http-equiv=Content-Security-Policy content="{POLICY}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><p class=over>Dataset distillation</p><h1>{escape(title)}</h1>"
        f"<p class=date>{escape(date)}, lightning_distill {escape(__version__)}</p>{_reading(groups)}</header>\n"
        + re.sub(r"(?<=\d) %", "\u00a0%", "\n".join(sections))
        + "\n</main>\n</body>\n</html>\n"
    )


def results_section(group: Group, numbers: Mapping[str, int]) -> str:
    """Tables and curves of rows that may be compared."""
    tables = [results_table(group, theme, scores, numbers) for theme, scores in group.scores().items()]
    there = group.scores().get("Scores", {})
    drawn = [
        figure_tag(svg_picture(against_ipc(group, name, THEMES["Scores"][name])), *against_words(group, name))
        for name in DRAWN
        if name in there and len(group.results) > 1
    ]
    return (
        f"<section><h2>{escape(group.alike['dataset'])}</h2><p class=about>{escape(_about(group))}</p>"
        f"{tables[0] if tables else ''}<div class=row>{''.join(drawn)}</div>{''.join(tables[1:])}"
        f"{derived_table(group)}</section>"
    )


def networks_sections(groups: Sequence[Group]) -> list[str]:
    """For data on which students of several networks were scored: accuracy by network, one column each."""
    families: dict[tuple[str, ...], dict[str, dict[str, Estimate]]] = {}
    for group in groups:
        key = tuple(value for column, value in group.alike.items() if column != "network")
        for row in group.results:
            if (value := row.measured("acc")) is not None:
                size = "" if math.isinf(row.ipc) else f", {row.ipc:g} per class"
                rows = families.setdefault(key, {})
                rows.setdefault(f"{row.name}{size}", {})[group.alike["network"] or "unnamed"] = value
    caption = "Accuracy in percent, mean ± standard deviation over students, below it the 95 % interval of the mean."
    return [
        f"<section><h2>{escape(key[0])}: students of other networks</h2>"
        f"<p class=about>{escape(', '.join(part for part in key[1:] if part))}</p>"
        f"{estimates_table(caption, rows)}</section>"
        for key, rows in families.items()
        if any(len(cells) > 1 for cells in rows.values())
    ]


def predictions_section(name: str, predictions: Predictions, run: str) -> str:
    """Scores with both intervals, and the figures of one thing that was evaluated."""
    spec, students = predictions.spec, len(predictions.logits)
    groups = predictions.groups
    of = "" if groups is None else f" of {len(groups.unique()):,} patients, lesions or volumes"
    networks = ", ".join(dict.fromkeys(predictions.architectures))
    seeds = ", ".join(map(str, predictions.seeds))
    about = (
        f"{spec.name} ({plain(spec.source)}), {len(predictions.targets):,} images{of} of the {predictions.split} "
        f"split; {students} student{'s' * (students != 1)} ({networks}), seeds {seeds}; {run}."
    )
    subject = called(name.strip("_").replace("_", " "))  # evaluate writes other characters of a name as _
    drawn = {key: svg_picture(figure) for key, figure in figures(predictions).items()}
    words = {"confusion": confusion_words, "reliability": reliability_words, "recall": recall_words}
    shown = "".join(figure_tag(picture, *words[key](predictions)) for key, picture in drawn.items())
    return (
        f"<section><h2>Predictions of students of {escape(subject)}</h2>"
        f"<p class=about>{escape(redact_paths(about))}</p>"
        f"{_score_table(predictions)}<div class=row>{shown}</div></section>"
    )


def _datasets(runs: Sequence[Run]) -> list[str]:
    names = [row.text("dataset") for run in runs for row in run.results]
    names += [run.synthetic.spec.name for run in runs if run.synthetic is not None]
    names += [predictions.spec.name for run in runs for predictions in run.predictions.values()]
    return list(dict.fromkeys(names))


def _about(group: Group) -> str:
    source = f"Source of the data: {group.alike['source']}. " if group.alike["source"] else ""
    return f"{source}{group.circumstances[0].upper()}{group.circumstances[1:]}."


def _reading(groups: Sequence[Group]) -> str:
    if not groups:
        return ""
    return (
        "<p>Each row is one thing that fresh networks, called students, were trained on and then scored on other, "
        "real images. <b>84.3</b> ± 1.2 is the mean and the standard deviation over students; "
        "<span class=ci>[82.8, 85.8]</span> is the 95 % interval of that mean. It says how far other students of the "
        "same set would differ; one that reaches past 100 says that the students are too few. How far other test "
        "images would differ is in round brackets, where it was measured. Bold: the best mean among sets of one size. "
        "Grey: real images that were only selected.</p>"
    )


def _score_table(predictions: Predictions) -> str:
    scores = [compute_metrics(logits, predictions.targets, predictions.spec) for logits in predictions.logits]
    level = 0.95 if len(scores) > 1 else None
    over: dict[str, dict[str, Estimate]] = {"over students": {}, "over images": {}}
    if predictions.groups is not None:
        over = {"over students": {}, "over groups, such as patients": {}}
    first, second = over.values()
    for metric, name in HEADLINE.items():
        first[name] = student_interval([values[metric] for values in scores], level)
    for metric in ("acc", "balanced_acc"):
        second[HEADLINE[metric]] = bootstrap_interval(predictions, metric)
    caption = "Mean ± standard deviation over students and standard error over images, each with its 95 % interval."
    return estimates_table(caption, over)
