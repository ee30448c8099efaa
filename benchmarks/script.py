"""What the scripts that measure have in common: their options, and where their CSVs go."""

from __future__ import annotations

import argparse
from pathlib import Path

HERE = Path(__file__).parent


def options(doc: str | None) -> argparse.ArgumentParser:
    """``--quick``, ``--again`` and ``--out``; the first line of a script's docstring is its help."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs; writes to runs/quick")
    parser.add_argument("--again", action="store_true", help="make rows that are there anew")
    parser.add_argument("--out", type=Path, help="folder of the CSV")
    return parser


def folder(given: argparse.Namespace) -> Path:
    """Where the CSV goes: ``--out``, else ``runs/quick`` of a quick run, else ``benchmarks/results``."""
    place: Path | None = given.out
    return place or (HERE.parent / "runs" / "quick" if given.quick else HERE / "results")


def listed(parser: argparse.ArgumentParser, text: str, known: tuple[str, ...]) -> list[str]:
    """``a,b`` as a list, or the parser's error that names what is not known."""
    found = text.split(",")
    if unknown := [name for name in found if name not in known]:
        parser.error(f"unknown part {unknown[0]!r}; use any of {', '.join(known)}")
    return found
