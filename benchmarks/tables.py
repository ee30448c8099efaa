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
METHODS = {"random": "random subset", "herding": "herding", "kcenter": "k-center", "kmeans": "k-means",
           "DCDistiller": "DC", "DSADistiller": "DSA", "DMDistiller": "DM",
           "MTTDistiller": "MTT", "all real data": "all real data"}  # fmt: skip
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
    whole = {dataset: rows["all real data"] for (dataset, ipc), rows in groups.items() if ipc == "all"}
    sizes = {key: rows for key, rows in groups.items() if key[1] != "all"}
    for (dataset, ipc), rows in sorted(sizes.items(), key=lambda item: (item[0][0], int(item[0][1]))):
        start = [f"{dataset} ({next(iter(rows.values()))['source']})", ipc]
        for metric in metrics:
            best = max(float(row[metric]) for row in rows.values())
            beside = rows | ({"all real data": whole[dataset]} if dataset in whole else {})
            cells = [cell(beside.get(column), metric) for column in columns]
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


def fashionmnist_table() -> str:
    """DM for a tenth of its steps on a CPU: accuracy, wall-clock time, and that of all steps at this pace."""
    rows = {row["trained_on"]: row for row in read("fashionmnist")}
    lines = []
    if (ours := rows.get("DMDistiller")) is not None:
        steps, seconds = int(ours["fit_steps"]), float(ours["fit_seconds"])
        data = [f"{ours['dataset']} ({ours['source']})", ours["ipc"], f"{ours['students']} x {ours['epochs']} epochs"]
        random = cell(rows.get("random"), "acc")
        whole = f"{20_000 * seconds / steps / 3600:.0f} h"
        lines.append([*data, random, cell(ours, "acc"), f"{steps:,}", f"{seconds / 60:.0f} min", whole])
    head = ["data", "ipc", "students", "random subset", "DM", "image steps", "took", "20,000 would take"]
    return markdown(head, lines)


def memory_table() -> str:
    """Peak memory above that of the process with its imports, by what it might grow with."""
    rows, lines = read("memory"), []
    dm = [row for row in rows if row["work"] == "dm"]
    for side, variant in (("textbook", "32/off"), ("ours", "32/off"), ("ours", "bf16/max")):
        found = {row["classes"]: row for row in dm if (row["side"], row["variant"]) == (side, variant)}
        if found:
            classes = sorted(found, key=int)
            name = f"DM, {side}" + (f", {KINDS[variant]}" if side == "ours" else "")
            what = f"classes {', '.join(classes)}; 50,000 real images"
            lines.append([name, what, ", ".join(f"{int(found[k]['above_start_mib']):,}" for k in classes)])
    for work, key, constant in (("dc", "classes", ""), ("dsa", "classes", ""), ("mtt", "syn_steps", "True"),
                                ("mtt", "syn_steps", "False")):  # fmt: skip
        found = {row[key]: row for row in rows if row["work"] == work and row["constant_memory"] == constant}
        if found:
            values = sorted(found, key=int)
            name = work.upper() + {"": "", "True": ", constant memory", "False": ", unrolled"}[constant]
            what = ("classes " if key == "classes" else "inner steps ") + ", ".join(values)
            lines.append([name, what, ", ".join(f"{int(found[k]['above_start_mib']):,}" for k in values)])
    return markdown(["method", "what grows", "MiB"], lines)


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
    """Ours and the textbook, medians of turns in one process; one machine after the other."""
    rows, lines = read("speed"), []
    for machine in dict.fromkeys(row["machine"] for row in rows):
        start = machine
        for row in (row for row in rows if row["machine"] == machine):
            work, authors = WORKS[row["work"].removesuffix(" (authors)")], row["work"].endswith(" (authors)")
            rival = f"{float(row['textbook_ms']):,.0f}" + " (authors' code)" * authors
            target = {"yes": f"{row['target']}, met", "no": f"{row['target']}, missed"}.get(row["met"], "-")
            ours, ratio = f"{float(row['ours_ms']):,.0f}", f"**{float(row['ratio']):.1f}**"
            lines.append([start, work, KINDS[row["variant"]], rival, ours, ratio, target])
            start = ""
    return markdown(["on", "", "ours in", "textbook, ms", "ours, ms", "times faster", "target"], lines)


def agreement_table() -> str:
    """Accuracy of both sides after the same steps from the same images."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in read("agreement"):
        groups.setdefault(row["work"], {})[row["side"]] = row
    lines = []
    for work, rows in groups.items():
        cells = [f"{cell(rows[side], 'acc')} ({float(rows[side]['points_off']):+.1f} ± "
                 f"{float(rows[side]['points_off_ci95']):.1f})" if side in rows else "-"
                 for side in ("32/max", "bf16/max")]  # fmt: skip
        lines.append([work.upper() if work != "student" else "students", cell(rows["textbook"], "acc"), *cells])
    return markdown(["", "textbook", "ours, float32", "ours, bf16"], lines)


def growth_table() -> str:
    """A step's time along each series."""
    lines = []
    names = {"classes": "classes", "ipc": "images a class", "real": "real images"}
    for series, name in names.items():
        rows = sorted((row for row in read("growth") if row["series"] == series), key=lambda row: int(row["value"]))
        if rows:
            values = ", ".join(f"{int(row['value']):,}" for row in rows)
            times = ", ".join(f"{float(row['ours_ms']):,.0f}" for row in rows)
            lines.append([name, values, times])
    return markdown(["what grows", "from, to", "ms a step"], lines)


def scaling_table() -> str:
    """One process and two."""
    lines = [
        [row["machine"], row["processes"], f"{float(row['step_ms']):,.0f}", f"{float(row['step_ratio']):.2f}",
         f"{float(row['students_s']):.1f}", f"{float(row['students_ratio']):.2f}", row["difference"]]
        for row in read("scaling")
    ]  # fmt: skip
    head = ["on", "processes", "DM step, ms", "times faster", "4 students, s", "times faster", "images differ by"]
    return markdown(head, lines)


def indicator_table() -> str:
    """What the accuracy of random subsets says of distilled ones, and how far off it is on a data set left out."""
    rows = [row for row in read("indicator") if row["metric"] == "acc" and not row["left_out"]]
    errors = ("error of line", "error of mean elsewhere", "error of y = x", "error of y = x + mean gain elsewhere")
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        mine = {row["quantity"]: row for row in rows if row["method"] == method}
        pearson = mine["pearson"]
        known = f" [{float(pearson['low']):.2f}, {float(pearson['high']):.2f}]" if pearson["low"] else ""
        start = [METHODS.get(method, method), pearson["points"], pearson["data_sets"]]
        lines.append(
            [*start, f"{float(pearson['value']):.2f}{known}", *(f"{float(mine[e]['value']):.1f}" for e in errors)]
        )
    head = ["method", "points", "data sets", "Pearson", "line", "mean elsewhere", "y = x", "y = x + mean gain"]
    return markdown(head, lines)


#: What students learn from in sites.csv: all names that begin so, and how the table calls them.
LEARNED = {
    "own images of site {}": "its own images, each site alone",
    "set of site {}": "one site's set",
    "sets of all sharing": "the three sets together",
    "random images, as many": "as many random real images",
    "own images of site {} and the others' sets": "its own images and the others' sets",
    "all images of all sharing": "all images of the three",
}


def sites_table() -> str:
    """Balanced accuracy at the sites that share, at the one that does not, and at all; three sites in one cell."""
    groups: dict[str, dict[tuple[str, str], dict[str, str]]] = {}
    for row in read("sites"):
        groups.setdefault(row["dataset"], {})[row["learned"], row["tested"]] = row
    lines = []
    for dataset, rows in groups.items():
        some = next(iter(rows.values()))
        start = f"{dataset} ({some['source']})"
        sites = sorted({tested for _, tested in rows if tested.startswith("site")})
        sharing, outside = [site for site in sites if "nothing" not in site], [s for s in sites if "nothing" in s]
        for pattern, called in LEARNED.items():
            names = list(dict.fromkeys(pattern.format(number) for number in range(len(sharing))))
            found = [name for name in names if (name, "all sites") in rows]
            if found:
                images = ", ".join(f"{int(rows[name, 'all sites']['images']):,}" for name in found)
                places = [sharing, outside, ["all sites"]]
                cells = [spread([[rows[name, site] for site in place] for name in found]) for place in places]
                lines.append([start, called, images, *cells])
                start = ""
    head = ["data", "students learn from", "images", "the sites that share", "the one that does not", "all sites"]
    return markdown(head, lines)


def spread(learners: list[list[dict[str, str]]]) -> str:
    """Balanced accuracy of one learner with its standard deviation, or the mean and the range of several."""
    means = [sum(100 * float(row["balanced_acc"]) for row in rows) / len(rows) for rows in learners]
    if len(means) > 1:
        return f"{sum(means) / len(means):.1f} ({min(means):.1f} to {max(means):.1f})"
    (rows,) = learners
    return f"{means[0]:.1f}" if len(rows) > 1 else cell(rows[0], "balanced_acc")


def resolution_table() -> str:
    """BreastMNIST by the side of its images: scores, and what a fit took."""
    groups: dict[tuple[int, str], dict[str, dict[str, str]]] = {}
    for row in read("resolution"):
        side = int([*row["dataset"].split("_"), "28"][1])
        groups.setdefault((side, row["ipc"]), {})[row["trained_on"]] = row
    lines = []
    for (side, ipc), rows in sorted((key, rows) for key, rows in groups.items() if key[1] != "all"):
        full, ours = groups.get((side, "all"), {}).get("all real data"), rows.get("DMDistiller")
        took = f"{float(ours['fit_seconds']):,.0f} s" if ours else "-"
        source = next(iter(rows.values()))["source"]
        start = [f"{side} px ({source})", ipc]
        for metric in ("acc", "balanced_acc"):
            cells = [cell(row, metric) for row in (rows.get("random"), ours, full)]
            lines.append([*start, METRICS[metric], *cells, took])
            start, took = ["", ""], ""
    return markdown(["BreastMNIST at", "ipc", "", "random subset", "DM", "all real data", "a fit took"], lines)


def large_table() -> str:
    """What images on disk take of memory, and what a step takes at 224 and 512 px."""
    names = {("draws", "rows"): "200 batches, rows read from the file", ("draws", "map"): "the same through the map",
             ("fit", "rows"): "DM fit, 10 steps"}  # fmt: skip
    kinds = {"as shipped": "", "keep all": ", all layers kept"}
    parts = ("draws", "fit", "dm", "dsa")

    def place(row: dict[str, str]) -> tuple[object, ...]:
        return parts.index(row["work"]), int(row["side"]), row["how"] == "map", float(row["gb"])

    lines = []
    for row in sorted(read("large"), key=place):
        step = f"{row['work'].upper()} step, {row['ipc']} images a class{kinds.get(row['how'], '')}"
        stored = f"{int(row['images']):,} images, {float(row['gb']):g} GB" if row["images"] else "in memory"
        pace = " and ".join(row[f"{name}_batches_per_s"] for name in ("cold", "warm") if row[f"{name}_batches_per_s"])
        lines.append([names.get((row["work"], row["how"]), step), f"{row['side']} px, {stored}",
                      row["network"] if row["work"] != "draws" else "-",
                      f"{float(row['above_start_mib']):,.0f}", pace or "-", row["s_a_step"] or "-"])  # fmt: skip
    head = ["", "images", "network", "MiB above imports", "batches a second, cold and warm", "s a step"]
    return markdown(head, lines)


TABLES: dict[str, Callable[[], str]] = {
    "dm": dm_table,
    "medical": lambda: grid_table("medical", ("acc", "balanced_acc")),
    "mnist": lambda: grid_table("mnist", ("acc",)),
    "selection": lambda: grid_table("selection", ("acc", "balanced_acc")),
    "sites": sites_table,
    "resolution": resolution_table,
    "reference": reference_table,
    "fashionmnist": fashionmnist_table,
    "memory": memory_table,
    "speed": speed_table,
    "agreement": agreement_table,
    "growth": growth_table,
    "indicator": indicator_table,
    "scaling": scaling_table,
    "large": large_table,
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
