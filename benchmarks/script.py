"""Options and output folder that the benchmark scripts share."""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent


def options(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with ``--quick``, ``--again`` and ``--out``.

    Args:
        doc: Docstring of the script. Its first line is the description.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="use tiny sizes, as a test, and write to runs/quick")
    parser.add_argument("--again", action="store_true", help="measure existing rows again")
    parser.add_argument("--out", type=Path, help="folder of the CSV file")
    return parser


def folder(given: argparse.Namespace) -> Path:
    """Return the folder of the CSV file: ``--out``, ``runs/quick`` with ``--quick``, or ``benchmarks/results``."""
    out: Path | None = given.out
    return out or (HERE.parent / "runs" / "quick" if given.quick else HERE / "results")


def listed(parser: argparse.ArgumentParser, text: str, known: tuple[str, ...]) -> list[str]:
    """Split ``a,b`` into a list, and exit with the parser's error if a name is unknown."""
    names = text.split(",")
    if unknown := [name for name in names if name not in known]:
        parser.error(f"unknown part {unknown[0]!r}; use any of {', '.join(known)}")
    return names
