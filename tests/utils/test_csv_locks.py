"""Concurrent writers of a CSV lose no rows, and no cell is a formula."""

from __future__ import annotations

import csv
import multiprocessing
from dataclasses import dataclass

import pytest

from lightning_distill.bench.results import ResumableCsv
from lightning_distill.utils.csv_rows import append_csv, quoted, read_csv, write_csv

WRITERS, ROWS = 4, 12


@dataclass
class Row:
    """A row."""

    writer: int
    number: int
    name: str


def append(path, writer):
    for number in range(ROWS):
        append_csv(path, [Row(writer, number, "x")])


def put(path, writer):
    book = ResumableCsv(path, ("writer", "number"), ("name",))
    for number in range(ROWS):
        book.put({"writer": writer, "number": number, "name": "x", "lightning_distill": "0"})


@pytest.mark.parametrize("write", [append, put])
def test_all_rows_of_all_writers_are_there(write, tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write, args=(tmp_path / "rows.csv", writer)) for writer in range(WRITERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    rows = read_csv(tmp_path / "rows.csv")
    assert sorted((int(row["writer"]), int(row["number"])) for row in rows) == [
        (writer, number) for writer in range(WRITERS) for number in range(ROWS)
    ]


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "-1+1", "\t=1", "=1"])
def test_formulas_are_text_for_a_spreadsheet_and_themselves_for_us(text, tmp_path):
    write_csv(tmp_path / "rows.csv", ["name", "acc"], [{"name": text, "acc": -0.5}])
    with (tmp_path / "rows.csv").open(newline="") as file:
        (cells,) = csv.DictReader(file)
    assert cells["name"] == f"'{text}"
    assert cells["acc"] == "-0.5"
    assert read_csv(tmp_path / "rows.csv") == [{"name": text, "acc": "-0.5"}]


@pytest.mark.parametrize("text", ["-0.5", "+3", "1e-5", "-1e-05", "-inf", "herding", "", "'quoted'", "a=b"])
def test_numbers_and_plain_texts_stay(text):
    assert quoted(text) == text
