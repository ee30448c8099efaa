"""``lightning-distill reader-study score``: score the answers of a reader study."""

from __future__ import annotations

import json
import math
from pathlib import Path

from rich.table import Table

from lightning_distill.commands._console import plain_console
from lightning_distill.reader_study.answers import read_answers
from lightning_distill.reader_study.key import PAGE, check_page, read_key
from lightning_distill.reader_study.scoring import ALL, Score, score_answers
from lightning_distill.reader_study.summary import count_lines, plain_counts, plain_scores, power_text, sentence
from lightning_distill.sets.storage import check_writable
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.csv_rows import row_cells, write_csv

#: Columns of the printed table, and the field of a score that each shows.
COLUMNS = {"reader": "reader", "answers": "answers", "right %": "accuracy", "exact 95 %": "", "d'": "d_prime",
           "c": "criterion", "AUC": "auc", "same %": "self_agreement"}  # fmt: skip


def reader_study_score(
    files: list[str],
    *,
    key: str = "study/key.json",
    out: str | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Score]:
    """Score the answers of a reader study: ``lightning-distill reader-study score study/*.csv --key study/key.json``.

    For each set and reader: right answers with the exact interval, d', criterion c, area under the ROC curve of the
    confidence, and agreement of both answers to repeated trials. For all readers: bootstrap intervals over readers and
    images, Cohen's and Fleiss' kappa, and what the number of answers can show. Missing and duplicate answers are
    counted. The page beside the key, if there, must show what the key states.

    Args:
        files: CSV files of the readers, given before all options.
        key: Key of the study.
        out: Folder for ``scores.csv`` and ``scores.json``. Default: ``scores`` beside the key.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        Scores of each reader and of all readers, for each set.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The key or the page was changed, the page shows other trials than stated, or a file holds other
            answers than those of the study.
        OSError: The folder cannot be written.
    """
    if not files:
        raise ValueError("no answers; give the readers' CSV files: reader-study score study/*.csv")
    if resamples < 100:
        raise ValueError(f"--resamples {resamples}; an interval needs at least 100")
    truth = read_key(key)
    checked = check_page(Path(key).parent / PAGE, truth)
    answers = read_answers(files, truth)
    folder = Path(key).parent / "scores" if out is None else Path(out)
    check_writable(folder)
    scores = score_answers(answers, truth, resamples, seed)
    counts = count_lines(answers, truth)
    sentences = [sentence(score, len(answers.readers)) for score in scores if score.reader == ALL]
    result = {
        "study": truth.study, "design": truth.design, "data": truth.data, "split": truth.split,
        "page_checked": checked, "readers": list(answers.readers), "counts": plain_counts(answers),
        "sentences": sentences, "scores": plain_scores(scores),
    }  # fmt: skip
    rows = [row_cells(score) for score in scores]
    write_csv(folder / "scores.csv", list(rows[0]), rows)
    write_files_atomically({folder / "scores.json": json.dumps(result, indent=1, ensure_ascii=False).encode()})
    console = plain_console()
    for name in dict.fromkeys(score.set for score in scores):
        own = [score for score in scores if score.set == name]
        console.print(score_table(own, f"{name}, {truth.data} ({truth.split})"))
        console.print(interval_text(own[-1], len(answers.readers)), soft_wrap=True, highlight=False)
        if name != ALL or len(truth.sets) == 1:
            per_reader = round(own[-1].answers / len(answers.readers))
            console.print(power_text(per_reader, len(answers.readers)), soft_wrap=True, highlight=False)
    for line in counts:
        console.print(line, soft_wrap=True, highlight=False)
    if not checked:
        console.print(f"no {PAGE} beside the key: what the readers saw was not checked", soft_wrap=True)
    for line in sentences:
        console.print(line, soft_wrap=True, highlight=False)
    console.print(f"scores.csv, scores.json: {folder}", soft_wrap=True, highlight=False)
    return scores


def score_table(scores: list[Score], title: str) -> Table:
    """Return the table of one set: a row for each reader and one for all.

    Args:
        scores: Scores of the set.
        title: Title of the table.
    """
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "reader" else "right")
    for score in scores:
        table.add_row(
            score.reader, str(score.answers), shown(score.accuracy, 100, 1),
            f"{shown(score.exact_low, 100, 1)} to {shown(score.exact_high, 100, 1)}", shown(score.d_prime),
            shown(score.criterion), shown(score.auc), shown(score.self_agreement, 100, 0), end_section=False,
        )  # fmt: skip
    return table


def interval_text(score: Score, readers: int) -> str:
    """Return the bootstrap intervals and the agreement of all readers as one line.

    Args:
        score: Row of all readers.
        readers: Number of readers.
    """
    parts = [f"right {shown(score.low, 100, 1)} to {shown(score.high, 100, 1)} %"]
    for name, label in (("d_prime", "d'"), ("criterion", "c"), ("auc", "AUC")):
        low, high = getattr(score, f"{name}_low"), getattr(score, f"{name}_high")
        if not math.isnan(low):
            parts.append(f"{label} {shown(low)} to {shown(high)}")
    text = f"95 % over {'images' if readers == 1 else 'readers and images'}: {', '.join(parts)}."
    agreement = (
        ("with themselves", score.self_kappa), ("Cohen", score.cohen_kappa), ("Fleiss", score.fleiss_kappa),
    )  # fmt: skip
    return f"{text} Kappa: {', '.join(f'{label} {shown(value)}' for label, value in agreement)}."


def shown(value: float, scale: float = 1, digits: int = 2) -> str:
    """Return a number with fixed digits; a dash for a measure that does not apply.

    Args:
        value: Number.
        scale: Factor.
        digits: Digits after the point.
    """
    return "-" if math.isnan(value) else f"{scale * value:.{digits}f}"
