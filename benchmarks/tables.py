"""Write the tables of README.md from benchmarks/results/*.csv, between their markers; ``--check`` only compares."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
COLUMNS = ("random", "DMDistiller", "all real data")


def read(name: str) -> list[dict[str, str]]:
    """The rows of one CSV."""
    with (HERE / "results" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def cell(row: dict[str, str], metric: str) -> str:
    """``84.3 ± 1.2`` of one metric."""
    return f"{100 * float(row[metric]):.1f} ± {100 * float(row[metric + '_std']):.1f}"


def dm_table() -> str:
    """Accuracy, balanced accuracy and AUROC of random subsets, DM and all data, three lines for each data set."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in read("dm"):
        groups.setdefault(row["dataset"], {})[row["trained_on"]] = row
    lines = [
        "| data | images | | random subset | DM | DM above random | all real data |",
        "|---|---|---|---|---|---|---|",
    ]
    for dataset, rows in groups.items():
        ours = rows["DMDistiller"]
        head = [f"{dataset} ({ours['source']})", f"{ours['images']} ({ours['ipc']} per class)"]
        for metric, name in (("acc", "accuracy"), ("balanced_acc", "balanced accuracy"), ("auroc", "AUROC")):
            gain = 100 * (float(ours[metric]) - float(rows["random"][metric]))
            random, dm, full = (cell(rows[column], metric) for column in COLUMNS)
            lines.append(f"| {' | '.join([*head, name, random, dm, f'{gain:+.1f}', full])} |")
            head = ["", ""]
    return "\n".join(lines)


def main(check: bool) -> int:
    text = README.read_text()
    start, end = "<!-- table:dm -->\n", "<!-- /table:dm -->"
    before, rest = text.split(start)
    _, after = rest.split(end)
    new = f"{before}{start}\n{dm_table()}\n\n{end}{after}"
    if check:
        return int(new != text)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
