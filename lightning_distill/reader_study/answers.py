"""Answers of readers: the CSV files of the page, checked against the key; what is missing or double is counted."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lightning_distill.reader_study.key import Key

#: Columns of the page's CSV that a score needs. The page also writes position, seconds and zoom.
COLUMNS = ("study", "trials", "reader", "trial", "showing", "answer", "confidence")
#: Largest confidence.
MAX_CONFIDENCE = 5


@dataclass(frozen=True)
class Answer:
    """Answer of a reader to one showing of a trial.

    Args:
        answer: ``real`` or ``synthetic``, or the identifier of the image of a pair that the reader calls synthetic.
        confidence: 1 (a guess) to 5 (certain); 0 for pairs.
    """

    answer: str
    confidence: int


@dataclass(frozen=True)
class Answers:
    """Answers of all readers.

    Args:
        answers: Answers by reader, trial and showing (1, or 2 for a repeat).
        readers: Codes of the readers with at least one answer.
        missing: Number of showings without an answer, by reader.
        duplicates: Number of further answers to a showing that already had one, by reader; the first one counts.
        contradictions: Number of those that differ from the first one, by reader.
    """

    answers: Mapping[tuple[str, str, int], Answer]
    readers: tuple[str, ...]
    missing: Mapping[str, int]
    duplicates: Mapping[str, int]
    contradictions: Mapping[str, int]


def read_answers(paths: Sequence[str | os.PathLike[str]], key: Key) -> Answers:
    """Read the CSV files of the readers.

    Args:
        paths: CSV files that the page wrote, in any order; files of one reader are joined.
        key: Key of the study.

    Returns:
        Answers, and the numbers of missing and duplicate ones.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: A file is no CSV of the page, is of another study or of a page with other trials than stated, or
            has an answer that the page cannot give.
    """
    answers: dict[tuple[str, str, int], Answer] = {}
    duplicates: dict[str, int] = {}
    contradictions: dict[str, int] = {}
    for path in map(Path, paths):
        for place, row in _rows(path):
            where = (reader, _, _) = _showing(row, key, place)
            answer = _answer(row, key, place)
            if answer is None:
                continue
            first = answers.setdefault(where, answer)
            if first is not answer:
                duplicates[reader] = duplicates.get(reader, 0) + 1
                contradictions[reader] = contradictions.get(reader, 0) + (first != answer)
    readers = tuple(name for name in key.readers if any(reader == name for reader, _, _ in answers))
    if not readers:
        raise ValueError("the files hold no answers; download them from the page when trials have been answered")
    expected = len(key.trials) + len(key.repeats)
    missing = {name: expected - sum(reader == name for reader, _, _ in answers) for name in readers}
    return Answers(answers, readers, missing, duplicates, contradictions)


def _rows(path: Path) -> list[tuple[str, dict[str, str]]]:
    """Return the rows of a CSV with the place of each, for messages; semicolons of a spreadsheet are read too."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path.name!r} in {path.parent}; give the CSV files of the readers")
    try:
        text = path.read_text("utf-8-sig")
        lines = text.splitlines()
        delimiter = ";" if lines and lines[0].count(";") > lines[0].count(",") else ","
        reader = csv.DictReader(lines, delimiter=delimiter)
        rows = [
            (f"{path.name}, line {reader.line_num}", {str(k): v or "" for k, v in row.items()})
            for row in reader
            if any("".join(cell or "") for cell in row.values())  # a spreadsheet may end in empty rows
        ]
        names = reader.fieldnames or []
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not a CSV file: {error}; give the files that the page downloads") from error
    if lacking := [name for name in COLUMNS if name not in names]:
        raise ValueError(f"{path.name} is no file of a reader study: it has no column {', '.join(lacking)}")
    return rows


def _showing(row: Mapping[str, str], key: Key, place: str) -> tuple[str, str, int]:
    """Return reader, trial and showing of a row.

    Raises:
        ValueError: The row is of another study, or the page cannot have shown the trial.
    """
    if row["study"] != key.study:
        raise ValueError(f"{place}: answers of another study than the key's, or the key was replaced; sort the files")
    if row["trials"] != str(len(key.trials)):
        raise ValueError(
            f"{place}: the page showed {row['trials']} trials, the study states {len(key.trials)}; let the reader "
            "answer the whole page"
        )
    reader, trial, showing = row["reader"], row["trial"], row["showing"]
    if reader not in key.readers:
        raise ValueError(f"{place}: reader {reader!r} is none of the study's, {', '.join(key.readers)}; mend the file")
    if trial not in key.trials or showing not in ("1", "2") or (showing == "2" and trial not in key.repeats):
        raise ValueError(f"{place}: the study does not show trial {trial!r} ({showing}); give the file as downloaded")
    return reader, trial, int(showing)


def _answer(row: Mapping[str, str], key: Key, place: str) -> Answer | None:
    """Return the answer of a row; ``None`` for an empty one, which counts as missing."""
    answer, confidence = row["answer"], row["confidence"]
    if not answer:
        return None
    levels = range(1, MAX_CONFIDENCE + 1) if key.design == "yes_no" else (0,)
    known = {str(level): level for level in levels} | ({"": 0} if key.design == "pairs" else {})
    if answer not in key.possible_answers(row["trial"]) or confidence not in known:
        raise ValueError(f"{place}: {answer!r} with confidence {confidence!r} is no answer of the page; mend the file")
    return Answer(answer, known[confidence])
