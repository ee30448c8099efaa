"""Write the tables of README.md from benchmarks/results/*.csv, between their markers; ``--check`` only compares."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parent / "README.md"
Rows = list[dict[str, str]]
#: Columns of a table: what was trained on, and how the table calls it.
METHODS = {"random": "random subset", "DCDistiller": "DC", "DSADistiller": "DSA", "DMDistiller": "DM",
           "MTTDistiller": "MTT"}  # fmt: skip
METRICS = {"acc": "accuracy", "balanced_acc": "balanced accuracy", "auroc": "AUROC"}


def read(name: str) -> Rows:
    """The rows of one CSV; none where it has not been made."""
    path = HERE / "results" / f"{name}.csv"
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def cell(row: dict[str, str] | None, metric: str) -> str:
    """``84.3 ± 1.2`` of one metric; a dash where there is no row."""
    return f"{100 * float(row[metric]):.1f} ± {100 * float(row[metric + '_std']):.1f}" if row else "-"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """A table."""
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in [head, ["---"] * len(head), *lines])


def dm_table() -> str:
    """Random subsets, DM and all data: three lines for each data set."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in read("dm"):
        groups.setdefault(row["dataset"], {})[row["trained_on"]] = row
    lines = []
    for dataset, rows in groups.items():
        ours = rows["DMDistiller"]
        start = [f"{dataset} ({ours['source']})", f"{ours['images']} ({ours['ipc']} per class)"]
        for metric, name in METRICS.items():
            gain = 100 * (float(ours[metric]) - float(rows["random"][metric]))
            random, dm, full = (cell(rows[column], metric) for column in ("random", "DMDistiller", "all real data"))
            lines.append([*start, name, random, dm, f"{gain:+.1f}", full])
            start = ["", ""]
    return markdown(["data", "images", "", "random subset", "DM", "DM above random", "all real data"], lines)


def grid_table(name: str, metrics: tuple[str, ...]) -> str:
    """One line for each data set, ipc and metric, one column a method; the best mean of a line is bold."""
    groups: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in read(name):
        groups.setdefault((row["dataset"], row["ipc"]), {})[row["trained_on"]] = row
    columns = [column for column in METHODS if any(column in rows for rows in groups.values())]
    lines = []
    for (dataset, ipc), rows in sorted(groups.items(), key=lambda item: (item[0][0], int(item[0][1]))):
        start = [f"{dataset} ({next(iter(rows.values()))['source']})", ipc]
        for metric in metrics:
            best = max(float(row[metric]) for row in rows.values())
            cells = [cell(rows.get(column), metric) for column in columns]
            marked = [f"**{text}**" if column in rows and float(rows[column][metric]) == best else text
                      for column, text in zip(columns, cells, strict=True)]  # fmt: skip
            lines.append([*start, METRICS[metric], *marked])
            start = ["", ""]
    return markdown(["data", "ipc", "", *(METHODS[column] for column in columns)], lines)


def reference_table() -> str:
    """Ours beside the published mean, same bytes and protocol."""
    published = {("mnist", "DCDistiller", "1"): "91.7 ± 0.5"}
    lines = [
        [f"{row['dataset']} ({row['source']})", row["ipc"], METHODS[row["trained_on"]], row["fit_steps"],
         f"{row['students']} x {row['epochs']} epochs", cell(row, "acc"),
         published[row["dataset"], row["trained_on"], row["ipc"]]]
        for row in read("mnist_reference")
    ]  # fmt: skip
    return markdown(["data", "ipc", "method", "image steps", "students", "ours", "published"], lines)


def memory_table() -> str:
    """Peak memory by what it might grow with."""
    rows = read("memory")
    lines = []
    for method, key, keys, kind in (
        ("DCDistiller", "classes", ("2", "5", "10"), ""),
        ("DSADistiller", "classes", ("2", "5", "10"), ""),
        ("MTTDistiller", "syn_steps", ("5", "10", "20"), "True"),
        ("MTTDistiller", "syn_steps", ("5", "10", "20"), "False"),
    ):
        found = {row[key]: row for row in rows if row["method"] == method and row["constant_memory"] == kind}
        values = [f"{int(found[k]['peak_mib']):,} ({int(found[k]['above_start_mib']):,})" for k in keys if k in found]
        name = METHODS[method] + {"": "", "True": ", constant memory", "False": ", unrolled"}[kind]
        what = "classes 2, 5, 10" if key == "classes" else "inner steps 5, 10, 20"
        if values:
            lines.append([name, what, *values])
    return markdown(["method", "what grows", "least", "middle", "most"], lines)


#: The paths of speed.csv, and what a step of them is.
WORKS = {
    "dm": "DM step",
    "dc": "DC image step with 50 inner epochs",
    "dsa": "DSA image step with 50 inner epochs",
    "student": "an epoch of one student, 100 images",
    "mtt": "MTT step, 20 inner steps",
}
KINDS = {"32/off": "float32", "32/max": "float32, compiled", "bf16/max": "bf16, compiled"}


def speed_table() -> str:
    """Ours and the textbook, medians of turns in one process."""
    lines = []
    for row in read("speed"):
        work, authors = WORKS[row["work"].removesuffix(" (authors)")], row["work"].endswith(" (authors)")
        rival = f"{float(row['textbook_ms']):,.0f}" + " (authors' code)" * authors
        target = {"yes": f"{row['target']}, met", "no": f"{row['target']}, missed"}.get(row["met"], "-")
        ours, ratio = f"{float(row['ours_ms']):,.0f}", f"**{float(row['ratio']):.1f}**"
        lines.append([work, KINDS[row["variant"]], rival, ours, ratio, target])
    return markdown(["", "ours in", "textbook, ms", "ours, ms", "times faster", "target"], lines)


TABLES: dict[str, Callable[[], str]] = {
    "dm": dm_table,
    "medical": lambda: grid_table("medical", ("acc", "balanced_acc")),
    "mnist": lambda: grid_table("mnist", ("acc",)),
    "reference": reference_table,
    "memory": memory_table,
    "speed": speed_table,
}


def main(check: bool) -> int:
    text = new = README.read_text()
    for name, table in TABLES.items():
        start, end = f"<!-- table:{name} -->\n", f"<!-- /table:{name} -->"
        before, rest = new.split(start)
        _, after = rest.split(end)
        new = f"{before}{start}\n{table()}\n\n{end}{after}"
    if check:
        return int(new != text)
    README.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
