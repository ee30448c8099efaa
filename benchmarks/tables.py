"""Write the tables of the README files from benchmarks/results/*.csv.

    python benchmarks/tables.py            # write every table between its markers
    python benchmarks/tables.py --check    # exit with 1 and name the files in which a table is out of date

A table stands between ``<!-- table:NAME -->`` and ``<!-- /table:NAME -->``. `TABLES` names its file.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev

from lightning_distill.evaluation.labels import LABELS, display_name
from lightning_distill.utils.csv_rows import read_csv

HERE = Path(__file__).parent
ROOT = HERE.parent
Row = dict[str, str]
Rows = list[Row]
#: Values of the column ``trained_on`` in the order of a table's columns.
METHODS = ("random", "herding", "kcenter", "kmeans", "DCDistiller", "DSADistiller", "DMDistiller",
           "KRRDistiller", "MTTDistiller", "full")  # fmt: skip
#: Names of recipes in words in the tables of leakage.
RECIPES = {
    "random": "random images", "herding": "herding picks", "full": "all real images", "noise": "from noise",
    "real": "from random images",
}  # fmt: skip
METRICS = {"acc": "accuracy", "balanced_acc": "balanced accuracy", "auroc": "AUROC"}


def read(name: str) -> Rows:
    """Return the rows of one CSV file, or no rows if the file does not exist."""
    return read_csv(HERE / "results" / f"{name}.csv")


def cell(row: Row | None, metric: str) -> str:
    """Format mean and standard deviation of one metric in percent (``84.3 ± 1.2``), or a dash if there is no row."""
    return f"{100 * float(row[metric]):.1f} ± {100 * float(row[metric + '_std']):.1f}" if row else "-"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in [head, ["---"] * len(head), *lines])


def dm_table() -> str:
    """Compare random subsets, DM and all real data: three lines per data set."""
    groups: dict[str, dict[str, dict[str, str]]] = {}
    for row in read("dm"):
        groups.setdefault(row["dataset"], {})[row["trained_on"]] = row
    lines = []
    for dataset, rows in groups.items():
        ours = rows["DMDistiller"]
        start = [f"{dataset} ({ours['source']})", f"{ours['images']} ({ours['ipc']} per class)"]
        for metric, name in METRICS.items():
            gain = 100 * (float(ours[metric]) - float(rows["random"][metric]))
            random, dm, full = (cell(rows[column], metric) for column in ("random", "DMDistiller", "full"))
            lines.append([*start, name, random, dm, f"{gain:+.1f}", full])
            start = ["", ""]
    return markdown(["data", "images", "", LABELS["random"], "DM", "gain of DM", LABELS["full"]], lines)


def grid_table(name: str, metrics: tuple[str, ...]) -> str:
    """Return one line per data set, ipc and metric, one column per method. The best mean of a line is bold."""
    groups: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for row in read(name):
        groups.setdefault((row["dataset"], row["ipc"]), {})[row["trained_on"]] = row
    columns = [column for column in METHODS if any(column in rows for rows in groups.values())]
    lines = []
    whole = {dataset: rows["full"] for (dataset, ipc), rows in groups.items() if ipc == "all"}
    sizes = {key: rows for key, rows in groups.items() if key[1] != "all"}
    for (dataset, ipc), rows in sorted(sizes.items(), key=lambda item: (item[0][0], int(item[0][1]))):
        start = [f"{dataset} ({next(iter(rows.values()))['source']})", ipc]
        for metric in metrics:
            best = max(float(row[metric]) for row in rows.values())
            beside = rows | ({"full": whole[dataset]} if dataset in whole else {})
            cells = [cell(beside.get(column), metric) for column in columns]
            marked = [f"**{text}**" if column in rows and float(rows[column][metric]) == best else text
                      for column, text in zip(columns, cells, strict=True)]  # fmt: skip
            lines.append([*start, METRICS[metric], *marked])
            start = ["", ""]
    return markdown(["data", "ipc", "", *map(display_name, columns)], lines)


def reference_table() -> str:
    """Compare with published means on the same files and by the same protocol."""
    published = {
        ("mnist_reference", "mnist", "1"): "DC: 91.7 ± 0.5",
        ("signal_reference", "mnist", "10"): "DM: 97.5",
        ("signal_reference", "fashionmnist", "10"): "DM: 83.5",
        ("quality_reference", "mnist", "10"): "FRePo: 98.6",
        ("quality_reference", "fashionmnist", "10"): "KIP: 86.8",
        ("quality_reference", "mnist", "1"): "FRePo: 93.0",
        ("quality_reference", "fashionmnist", "1"): "FRePo: 75.6",
    }
    methods = {
        "mnist_reference": {"dc": "DC"}, "signal_reference": {"dm": "DM, paper, pool of 300"},
        "quality_reference": {"dm": "DM, 2 x 2", "krr": "KRR, 2 x 2, learned labels"},
    }  # fmt: skip
    lines = [
        [f"{row['dataset']} ({row['source']})", row["ipc"], names[row["job"].split("_")[-1].split("-")[0]],
         f"{int(row['fit_steps']):,}", f"{float(row['fit_seconds']) / 60:.0f} min",
         f"{row['students']} x {row['epochs']} epochs", cell(row, "acc"), published[grid, row["dataset"], row["ipc"]]]
        for grid, names in methods.items()
        for row in read(grid)
    ]  # fmt: skip
    return markdown(["data", "ipc", "method", "image steps", "time", "students", "measured", "published"], lines)


def fashionmnist_table() -> str:
    """Report accuracy and wall time of DM with a tenth of the steps, and the time extrapolated to all steps."""
    rows = {row["trained_on"]: row for row in read("fashionmnist")}
    lines = []
    if (ours := rows.get("DMDistiller")) is not None:
        steps, seconds = int(ours["fit_steps"]), float(ours["fit_seconds"])
        data = [f"{ours['dataset']} ({ours['source']})", ours["ipc"], f"{ours['students']} x {ours['epochs']} epochs"]
        random = cell(rows.get("random"), "acc")
        whole = f"{20_000 * seconds / steps / 3600:.0f} h"
        lines.append([*data, random, cell(ours, "acc"), f"{steps:,}", f"{seconds / 60:.0f} min", whole])
    head = ["data", "ipc", "students", LABELS["random"], "DM", "image steps", "time", "time of 20,000 steps"]
    return markdown(head, lines)


def memory_table() -> str:
    """Report peak memory above the process with its imports, against classes or inner steps."""
    rows, lines = read("memory"), []
    dm = [row for row in rows if row["work"] == "dm"]
    for side, variant in (("textbook", "32/off"), ("ours", "32/off"), ("ours", "bf16/max")):
        matching = {row["classes"]: row for row in dm if (row["side"], row["variant"]) == (side, variant)}
        if matching:
            classes = sorted(matching, key=int)
            name = f"DM, {side}" + (f", {KINDS[variant]}" if side == "ours" else "")
            variable = f"classes {', '.join(classes)}; 50,000 real images"
            lines.append([name, variable, ", ".join(f"{int(matching[k]['above_start_mib']):,}" for k in classes)])
    for work, key, constant in (("dc", "classes", ""), ("dsa", "classes", ""), ("mtt", "syn_steps", "True"),
                                ("mtt", "syn_steps", "False")):  # fmt: skip
        matching = {row[key]: row for row in rows if row["work"] == work and row["constant_memory"] == constant}
        if matching:
            values = sorted(matching, key=int)
            name = work.upper() + {"": "", "True": ", constant memory", "False": ", unrolled"}[constant]
            variable = ("classes " if key == "classes" else "inner steps ") + ", ".join(values)
            lines.append([name, variable, ", ".join(f"{int(matching[k]['above_start_mib']):,}" for k in values)])
    return markdown(["method", "variable", "MiB"], lines)


def krr_table() -> str:
    """Report each variant of KRR: accuracy, balanced accuracy, loss, and the movement of the images."""
    lines: list[list[str]] = []
    previous = ""
    for row in read("krr_ablation"):
        data = f"{row['dataset']} ({row['source']}), {row['ipc']} per class"
        options = f" ({row['options']})" if row["options"] else ""
        loss = f"{row['loss_first']} to {row['loss_last']}" if row["loss_first"] else "-"
        moved = f"{row['moved']}, {100 * float(row['moved_high']):.0f} %" if row["moved"] else "-"
        cells = [row["variant"] + options, row["hypothesis"], cell(row, "acc"), cell(row, "balanced_acc"), loss, moved]
        lines.append(["" if data == previous else data, *cells, row["fit_seconds"]])
        previous = data
    head = ["data", "variant", "hypothesis", "accuracy", "balanced accuracy", "loss, first to last tenth",
            "RMS movement, share of high frequencies", "seconds"]  # fmt: skip
    return markdown(head, lines)


def krr_ridge_table() -> str:
    """Report the error of the regression from picked images against the ridge."""
    groups: dict[tuple[str, ...], Rows] = {}
    for row in read("krr_ridge"):
        if row["centred"] == "1" and (row["network"], row["steps"]) != ("convnet_w32", "0"):
            continue
        key = ("dataset", "ipc", "network", "features", "steps", "centred", "loss_of_zero")
        groups.setdefault(tuple(row[name] for name in key), []).append(row)
    lines: list[list[str]] = []
    for (dataset, ipc, network, features, steps, centred, zero), rows in groups.items():
        least = min(rows, key=lambda row: float(row["loss"]))
        cells = [f"{float(row['loss']):.2f}" for row in rows]
        cells[rows.index(least)] = f"**{cells[rows.index(least)]}**"
        name = f"{network}, {features} features, {steps} steps" + (", intercept" if centred == "1" else "")
        lines.append([f"{dataset}, {ipc}", name, *cells, f"{float(zero):.2f}"])
    ridges = list(dict.fromkeys(row["ridge"] for row in read("krr_ridge")))
    return markdown(["data, ipc", "network", *(f"ridge {ridge}" for ridge in ridges), "of predicting zero"], lines)


#: Values of the column ``work`` in speed.csv -> captions.
WORKS = {
    "dm": "DM step",
    "dm_pool": "DM step over stored signals",
    "dc": "DC image step with 50 inner epochs",
    "dsa": "DSA image step with 50 inner epochs",
    "student": "epoch of one student, 100 images",
    "mtt": "MTT step, 20 inner steps",
}
KINDS = {"32/off": "float32", "32/max": "float32, compiled", "bf16/max": "bf16, compiled"}


def speed_table() -> str:
    """Compare with the textbook implementation: medians of interleaved runs in one process, machine by machine."""
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
    return markdown(["machine", "work", "precision", "textbook, ms", "ours, ms", "speedup", "target"], lines)


def agreement_table() -> str:
    """Compare the accuracy of both implementations after the same steps from the same images."""
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
    """Report the time of a step along each series."""
    lines = []
    names = {"classes": "classes", "ipc": "images per class", "real": "real images"}
    for series, name in names.items():
        rows = sorted((row for row in read("growth") if row["series"] == series), key=lambda row: int(row["value"]))
        if rows:
            values = ", ".join(f"{int(row['value']):,}" for row in rows)
            times = ", ".join(f"{float(row['ours_ms']):,.0f}" for row in rows)
            lines.append([name, values, times])
    return markdown(["variable", "values", "ms per step"], lines)


def scaling_table() -> str:
    """Compare one process with two."""
    lines = [
        [row["machine"], row["processes"], f"{float(row['step_ms']):,.0f}", f"{float(row['step_ratio']):.2f}",
         f"{float(row['students_s']):.1f}", f"{float(row['students_ratio']):.2f}", row["difference"]]
        for row in read("scaling")
    ]  # fmt: skip
    head = ["machine", "processes", "DM step, ms", "speedup", "4 students, s", "speedup", "max. image difference"]
    return markdown(head, lines)


def indicator_table() -> str:
    """Report the prediction of distilled accuracy from random subsets and its error on left-out data sets."""
    rows = [row for row in read("indicator") if row["metric"] == "acc" and not row["left_out"]]
    errors = ("error of line", "error of mean elsewhere", "error of y = x", "error of y = x + mean gain elsewhere")
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        values = {row["quantity"]: row for row in rows if row["method"] == method}
        pearson = values["pearson"]
        known = f" [{float(pearson['low']):.2f}, {float(pearson['high']):.2f}]" if pearson["low"] else ""
        start = [display_name(method), pearson["points"], pearson["data_sets"]]
        lines.append(
            [*start, f"{float(pearson['value']):.2f}{known}", *(f"{float(values[e]['value']):.1f}" for e in errors)]
        )
    head = ["method", "points", "data sets", "Pearson", "linear fit", "mean of others", "y = x", "y = x + mean gain"]
    return markdown(head, lines)


#: Keys of the column ``learned`` in sites.csv -> captions.
LEARNED = {
    "own images of site {}": "own images of one site",
    "set of site {}": "synthetic set of one site",
    "sets of all sharing": "synthetic sets of three sites",
    "random images, as many": "random real images (same number)",
    "own images of site {} and the others' sets": "own images and the other sites' sets",
    "all images of all sharing": "all images of three sites",
}


def sites_table() -> str:
    """Report balanced accuracy at the sharing sites, at the other site, and at all sites."""
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
            matching = [name for name in names if (name, "all sites") in rows]
            if matching:
                images = ", ".join(f"{int(rows[name, 'all sites']['images']):,}" for name in matching)
                places = [sharing, outside, ["all sites"]]
                cells = [spread([[rows[name, site] for site in place] for name in matching]) for place in places]
                lines.append([start, called, images, *cells])
                start = ""
    head = ["data", "training data", "images", "sharing sites", "other site", "all sites"]
    return markdown(head, lines)


def spread(learners: list[list[dict[str, str]]]) -> str:
    """Format balanced accuracy: mean ± standard deviation of one learner, or mean and range of several."""
    means = [sum(100 * float(row["balanced_acc"]) for row in rows) / len(rows) for rows in learners]
    if len(means) > 1:
        return f"{sum(means) / len(means):.1f} ({min(means):.1f} to {max(means):.1f})"
    (rows,) = learners
    return f"{means[0]:.1f}" if len(rows) > 1 else cell(rows[0], "balanced_acc")


def resolution_table() -> str:
    """Report scores and fit time on BreastMNIST by image size."""
    groups: dict[tuple[int, str], dict[str, dict[str, str]]] = {}
    for row in read("resolution"):
        side = int([*row["dataset"].split("_"), "28"][1])
        groups.setdefault((side, row["ipc"]), {})[row["trained_on"]] = row
    lines = []
    for (side, ipc), rows in sorted((key, rows) for key, rows in groups.items() if key[1] != "all"):
        full, ours = groups.get((side, "all"), {}).get("full"), rows.get("DMDistiller")
        took = f"{float(ours['fit_seconds']):,.0f} s" if ours else "-"
        source = next(iter(rows.values()))["source"]
        start = [f"{side} px ({source})", ipc]
        for metric in ("acc", "balanced_acc"):
            cells = [cell(row, metric) for row in (rows.get("random"), ours, full)]
            lines.append([*start, METRICS[metric], *cells, took])
            start, took = ["", ""], ""
    return markdown(["BreastMNIST at", "ipc", "", LABELS["random"], "DM", LABELS["full"], "fit time"], lines)


def large_table() -> str:
    """Report memory for images on disk, and memory and time of steps at 224 and 512 px."""
    names = {("draws", "rows"): "200 batches, rows read from the file", ("draws", "map"): "200 batches, memory map",
             ("fit", "rows"): "DM fit, 10 steps"}  # fmt: skip
    kinds = {"as shipped": "", "keep all": ", all activations kept"}
    parts = ("draws", "fit", "dm", "dsa")

    def place(row: dict[str, str]) -> tuple[object, ...]:
        return parts.index(row["work"]), int(row["side"]), row["how"] == "map", float(row["gb"])

    lines = []
    for row in sorted(read("large"), key=place):
        step = f"{row['work'].upper()} step, {row['ipc']} images per class{kinds.get(row['how'], '')}"
        stored = f"{int(row['images']):,} images, {float(row['gb']):g} GB" if row["images"] else "in memory"
        pace = " and ".join(row[f"{name}_batches_per_s"] for name in ("cold", "warm") if row[f"{name}_batches_per_s"])
        lines.append([names.get((row["work"], row["how"]), step), f"{row['side']} px, {stored}",
                      row["network"] if row["work"] != "draws" else "-",
                      f"{float(row['above_start_mib']):,.0f}", pace or "-", row["s_a_step"] or "-"])  # fmt: skip
    head = ["", "images", "network", "MiB above imports", "batches per second, cold and warm", "s per step"]
    return markdown(head, lines)


#: Methods of quality.csv -> captions, picks and distilled sets.
QUALITY_PICKS = {
    "random": "random", "herding": "herding", "kmeans": "k-means", "kcenter": "k-center", "random_f2": "random, 2 x 2",
    "herding_f2": "herding, 2 x 2", "kmeans_f2": "k-means, 2 x 2",
}  # fmt: skip
QUALITY_METHODS = {
    "dm": "DM, paper", "dm_f2": "DM, 2 x 2", "dm_f3": "DM, 3 x 3",
    "krr_dm": "KRR + DM, 2 x 2, 500 steps", "krr": "KRR", "krr_f2": "KRR, 2 x 2",
    "krr_500": "KRR, 2 x 2, 500 steps, rate 0.03", "krr_mixed": "the same, LeNet and MLP in the pool",
    "krr_mixed_1200": "the same, 1,200 steps", "krr_long": "KRR that learns labels, 1,500 steps",
    "krr_noise": "KRR from noise, 2 x 2, rate 0.03, 1,500 steps", "idm_f2": "IDM, 2 x 2", "dsa": "DSA",
}  # fmt: skip
#: Methods without sub-images that take the place of the same ones with them, on digits.
WITHOUT_SUB_IMAGES = {
    "dm_f1": "dm_f2", "krr_dm_f1": "krr_dm", "krr_long_f1": "krr_long", "krr_500_f1": "krr_500",
}  # fmt: skip
#: Caption of a column of the overview -> its rows of default settings by images per class.
OVERVIEW = {"DM": {1: "dm_f2", 10: "dm_f2"}, "KRR": {1: "krr_500", 10: "krr_dm"}}


def quality_groups(labels: str, split: str) -> dict[tuple[str, int], dict[str, Rows]]:
    """Return the rows of quality.csv by data set and ipc, and by method: one row for each distillation seed."""
    groups: dict[tuple[str, int], dict[str, Rows]] = {}
    for row in read("quality"):
        if (row["labels"], row["split"]) == (labels, split):
            groups.setdefault((row["dataset"], int(row["ipc"])), {}).setdefault(row["method"], []).append(row)
    for methods in groups.values():
        methods |= {other: methods.pop(name) for name, other in WITHOUT_SUB_IMAGES.items() if name in methods}
    return groups


def seeds_cell(rows: Rows | None, metric: str = "balanced_acc") -> str:
    """Format mean ± standard deviation over distillation seeds (their number behind it), or over students of one."""
    if not rows or len(rows) == 1:
        return cell(rows[0] if rows else None, metric)
    values = [100 * float(row[metric]) for row in rows]
    return f"{mean(values):.1f} ± {stdev(values):.1f} ({len(values)})"


def mean_score(rows: Rows) -> float:
    """Return the mean balanced accuracy over distillation seeds."""
    return mean(float(row["balanced_acc"]) for row in rows)


def best_pick(val: dict[str, Rows]) -> str | None:
    """Return the pick with the best balanced accuracy on the validation split, with or without sub-images."""
    return max((name for name in QUALITY_PICKS if name in val), key=lambda name: mean_score(val[name]), default=None)


def full_rows(split: str) -> dict[str, Rows]:
    """Return the rows of all real data by data set."""
    groups = quality_groups("hard", split).items()
    return {dataset: rows["full"] for (dataset, _), rows in groups if "full" in rows}


def overview_table() -> str:
    """Report balanced accuracy on test with one and with ten images: the pick that is best on val, and two methods."""
    val, test = quality_groups("hard", "val"), quality_groups("hard", "test")
    lines = []
    for dataset in sorted(name for name, ipc in val if ipc == 1 and (name, 10) in val):
        cells = []
        for ipc in (1, 10):
            rows, scored = val[dataset, ipc], test[dataset, ipc]
            names = [by_ipc[ipc] for by_ipc in OVERVIEW.values()]
            pick, best = best_pick(rows), max((n for n in names if n in rows), key=lambda name: mean_score(rows[name]))
            assert pick is not None
            cells.append(f"{seeds_cell(scored[pick])} ({QUALITY_PICKS[pick]})")
            cells += [f"**{seeds_cell(scored[n])}**" if n == best else seeds_cell(scored.get(n)) for n in names]
        some = next(iter(test[dataset, 1].values()))[0]
        lines.append([f"{dataset} ({some['source']})", *cells, seeds_cell(full_rows("test").get(dataset))])
    head = [f"{ipc} a class: {caption}" for ipc in (1, 10) for caption in ("best pick", *OVERVIEW)]
    return markdown(["data", *head, "all data"], lines)


def quality_table() -> str:
    """Report balanced accuracy on val and test: random images, the pick that is best on val, and the methods."""
    lines, methods = [], tuple(QUALITY_METHODS)
    for (dataset, ipc), val in sorted(quality_groups("hard", "val").items()):
        present = [name for name in methods if name in val]
        if not present:
            continue
        pick, best = best_pick(val), max(present, key=lambda name: mean_score(val[name]))
        start = [f"{dataset} ({val[best][0]['source']})", val[best][0]["images"]]
        for split in ("val", "test"):
            rows = quality_groups("hard", split)[dataset, ipc]
            cells = [f"**{seeds_cell(rows.get(n))}**" if n == best else seeds_cell(rows.get(n)) for n in methods]
            named = f"{seeds_cell(rows.get(pick))} ({QUALITY_PICKS[pick]})" if pick else "-"
            all_data = seeds_cell(full_rows(split).get(dataset))
            lines.append([*start, split, seeds_cell(rows.get("random")), named, *cells, all_data])
            start = ["", ""]
    head = ["data", "images", "", "random", "best pick", *(QUALITY_METHODS[name] for name in methods), "all data"]
    return markdown(head, lines)


def dm_weight_table() -> str:
    """Report accuracy / balanced accuracy of KRR with and without distribution matching, and of DM."""
    columns = {"dm_f2": "DM", "krr_500": "KRR alone", "krr_dm": "dm_weight 1"}
    lines = []
    for key, val in sorted(quality_groups("hard", "val").items()):
        if "krr_dm" not in val:
            continue
        start = [f"{key[0]} ({val['krr_dm'][0]['source']})", val["krr_dm"][0]["images"]]
        for split in ("val", "test"):
            rows = quality_groups("hard", split)[key]
            cells = ["-" if n not in rows else f"{seeds_cell(rows[n], 'acc')} / {seeds_cell(rows[n])}" for n in columns]
            lines.append([*start, split, *cells])
            start = ["", ""]
    return markdown(["data", "images", "", *columns.values()], lines)


def learned_labels_table() -> str:
    """Report balanced accuracy of KRR with the labels that it learned, and with hard labels on the same images."""
    lines = []
    splits = ("val", "test")
    hard, learned = ({split: quality_groups(labels, split) for split in splits} for labels in ("hard", "learned"))
    for key, rows in sorted(learned["val"].items()):
        start = [f"{key[0]} ({rows['krr_long'][0]['source']})", rows["krr_long"][0]["images"]]
        for split in splits:
            others, made = hard[split].get(key, {}), learned[split][key]["krr_long"]
            cells = [
                seeds_cell(others.get(name)) for name in ("dm_f2", "krr_f2", "krr_500", "krr_long_hard", "krr_long")
            ]
            lines.append([*start, split, *cells, seeds_cell(made), f"{float(made[0]['set_seconds']):.0f}"])
            start = ["", ""]
    captions = (
        "DM, 2 x 2, 500 steps", "KRR, 2 x 2, 300 steps", "500 steps, rate 0.03", "1,500 steps",
        "KRR that learns labels, 1,500 steps, scored with hard ones", "scored with the learned ones", "seconds",
    )  # fmt: skip
    return markdown(["data", "images", "", *captions], lines)


#: Kinds of labels by teachers -> captions.
SOFT_LABELS = {"hard": "hard", "soft_balanced": "soft, equal frequencies", "soft_natural": "soft, natural frequencies"}


def soft_labels_table() -> str:
    """Report accuracy and balanced accuracy of the same images with hard labels and with those of teachers."""
    groups = {(labels, split): quality_groups(labels, split) for labels in SOFT_LABELS for split in ("val", "test")}
    captions = QUALITY_PICKS | QUALITY_METHODS
    lines = []
    for key, rows in sorted(groups["soft_balanced", "val"].items()):
        start = f"{key[0]} ({next(iter(rows.values()))[0]['source']}), {key[1]} per class"
        for method in (name for name in captions if name in rows):
            cells = []
            for found in (group.get(key, {}).get(method) for group in groups.values()):
                means = (
                    [mean(float(row[metric]) for row in found) for metric in ("acc", "balanced_acc")] if found else []
                )
                cells.append(" / ".join(f"{100 * value:.1f}" for value in means) or "-")
            lines.append([start, captions[method], *cells])
            start = ""
    return markdown(["data", "set", *(f"{SOFT_LABELS[labels]}, {split}" for labels, split in groups)], lines)


#: Methods of architectures.csv -> captions.
ARCHITECTURES = {
    "herding": "herding", "herding_f2": "herding, 2 x 2", "dm_f2": "DM, 2 x 2",
    "krr_long": "KRR, 2 x 2, 1,500 steps, rate 0.01",
    "krr_500": "KRR, 2 x 2, 500 steps, rate 0.03", "krr_mixed": "the same, LeNet and MLP in the pool",
    "krr_mixed_1200": "the same, 1,200 steps", "krr_dm": "KRR + DM, 2 x 2, 500 steps",
    "krr_dm_mixed_1200": "KRR + DM, LeNet and MLP in the pool, 1,200 steps",
}  # fmt: skip


def architectures_table() -> str:
    """Report balanced accuracy of students of several networks on the same sets."""
    lines, groups = [], dict[tuple[str, str, str], dict[str, Row]]()
    networks = list(dict.fromkeys(row["network"] for row in read("architectures")))
    for row in read("architectures"):
        groups.setdefault((row["dataset"], row["split"], row["method"]), {})[row["network"]] = row
    shown = ""
    for dataset, split in dict.fromkeys((dataset, split) for dataset, split, _ in groups):
        for method, caption in ARCHITECTURES.items():
            if rows := groups.get((dataset, split, method)):
                some = next(iter(rows.values()))
                start = f"{dataset} ({some['source']}), {some['ipc']} per class, {split}"
                cells = [cell(rows.get(network), "balanced_acc") for network in networks]
                lines.append(["" if start == shown else start, caption, *cells])
                shown = start
    return markdown(["data", "set", *networks], lines)


#: Methods of generators.csv -> captions: real, distilled and generated images.
GENERATORS = {
    "random": "random real", "herding_f2": "herding, 2 x 2", "dm_f2": "DM, 2 x 2", "flow": "flow", "gan": "GAN",
    "dm_latent": "DM in the GAN", "dm_latent_untrained": "DM in an untrained GAN",
}  # fmt: skip


def generator_groups(labels: str, split: str) -> dict[tuple[str, int], dict[str, Row]]:
    """Return the rows of generators.csv by data set and ipc, and by method."""
    groups: dict[tuple[str, int], dict[str, Row]] = {}
    for row in generator_rows():
        if (row["labels"], row["split"]) == (labels, split) and row["method"] != "full":
            groups.setdefault((row["dataset"], int(row["ipc"])), {})[row["method"]] = row
    return groups


def generators_full() -> dict[str, Row]:
    """Return the rows of all real data on the test split by data set."""
    return {row["dataset"]: row for row in generator_rows() if (row["method"], row["split"]) == ("full", "test")}


def generator_rows() -> Rows:
    """Return the rows of generators.csv, and those of quality.csv where it has none: the same script and settings."""
    rows, keys = read("generators"), ("dataset", "ipc", "method", "seed", "labels", "split")
    names = {row["dataset"] for row in rows}
    known = {tuple(row[key] for key in keys) for row in rows}
    more = [row for row in read("quality") if row["dataset"] in names and row["method"] in (*GENERATORS, "full")]
    more = [row for row in more if row["seed"] == "0" and tuple(row[key] for key in keys) not in known]
    return rows + [{**row, **dict.fromkeys(rows[0].keys() - row.keys(), "")} for row in more]


def generators_table() -> str:
    """Report balanced accuracy on test of distilled, generated and selected images, with hard and with soft labels."""
    lines, previous, full = [], "", generators_full()
    soft = generator_groups("soft_balanced", "test")
    for (dataset, ipc), hard in sorted(generator_groups("hard", "test").items()):
        whole = full.get(dataset)
        for labels, rows in (("hard", hard), ("soft", soft.get((dataset, ipc), {}))):
            if rows:
                title = f"{dataset} ({next(iter(rows.values()))['source']}), all data {cell(whole, 'balanced_acc')}"
                cells = [cell(rows.get(name), "balanced_acc") for name in GENERATORS]
                lines.append(["" if title == previous else title, f"{ipc:,}", labels, *cells])
                previous = title
    return markdown(["data", "images per class", "labels", *GENERATORS.values()], lines)


def generators_fidelity_table() -> str:
    """Report distance, diversity and near copies of the sets of generators.csv with ten or more images a class."""
    lines, previous = [], ""
    for (dataset, ipc), rows in sorted(generator_groups("hard", "val").items()):
        if ipc < 10:  # a distance between so few images says nothing
            continue
        for name in (name for name in GENERATORS if name in rows and rows[name]["kid"]):
            row = rows[name]
            beside = [f"{_number(row[one], digits)} ({_number(row[other], digits)})" for one, other, digits in (
                ("kid", "kid_real", 4), ("ms_ssim", "ms_ssim_real", 2))]  # fmt: skip
            share = [_number(row[one], 2) for one in ("precision", "recall", "density", "coverage")]
            copies = "-" if not row["copies"] else (
                f"{100 * float(row['copies']):.0f} ({100 * float(row['copies_null']):.0f})")  # fmt: skip
            seconds = f"{_number(row['generator_seconds'], 0)} + {_number(row['set_seconds'], 0)}"
            start = f"{dataset}, {ipc:,} per class"
            lines.append(["" if start == previous else start, GENERATORS[name], *beside, *share, copies, seconds])
            previous = start
    head = ["data", "images", "KID (real)", "MS-SSIM within class (real)", "precision", "recall", "density", "coverage",
            "near copies, % (held-out images)", "seconds: generator + set"]  # fmt: skip
    return markdown(head, lines)


def _number(text: str, digits: int) -> str:
    """Format a number of a cell; a dash for an empty one."""
    return f"{float(text):.{digits}f}" if text else "-"


def sweep_generators_table() -> str:
    """Report the gap of students of generated and of random real images to students of all real images, on test."""
    groups: dict[tuple[str, int, str], dict[tuple[int, str], Row]] = {}
    for row in read("sweep_generators"):
        key = row["sweep"], int(row["value"]), row["dataset"]
        groups.setdefault(key, {})[int(row["ipc"]), row["method"]] = row
    lines = []
    for (sweep, value, dataset), rows in sorted(groups.items()):
        some = next(iter(rows.values()))
        what = f"{value} classes" if sweep == "classes" else f"{value} px"
        start = [f"{dataset} ({some['source']}), {what}", f"{100 * float(some['all_real']):.1f}"]
        for ipc in sorted({ipc for ipc, _ in rows}):
            gaps = []
            for method in ("random", "flow"):
                found = rows.get((ipc, method))
                gap = [100 * float(found[name]) for name in ("gap", "gap_low", "gap_high")] if found else []
                gaps.append(f"{gap[0]:.1f} [{gap[1]:.1f}, {gap[2]:.1f}]" if gap else "-")
            lines.append([*start, f"{ipc:,}", *gaps])
            start = ["", ""]
    return markdown(
        ["data", "all real data", "images per class", "gap of random real images", "gap of the flow"], lines
    )


def dm_formation_table() -> str:
    """Report balanced accuracy on val of DM with and without sub-images, by rate, start and steps."""
    rows = [row for row in read("dm_formation") if row["split"] == "val" and row["ipc"] == "10"]
    datasets = list(dict.fromkeys(row["dataset"] for row in rows if row["method"] == "dm_f2"))
    lines = []
    for method in dict.fromkeys(row["method"] for row in rows):
        found = {row["dataset"]: row for row in rows if row["method"] == method}
        settings = next(iter(found.values()))["options"].replace("class_path: lightning_distill.DMDistiller, ", "DM, ")
        settings = settings.replace("init_args: ", "").replace("{", "").replace("}", "")
        lines.append([settings, *(cell(found.get(dataset), "balanced_acc") for dataset in datasets)])
    return markdown(["settings", *datasets], lines)


def objectives_table() -> str:
    """Report accuracy on val of objectives at equal processor seconds."""
    lines, previous = [], ""
    for row in read("objectives"):
        start = ["" if row["data"] == previous else row["data"], row["method"], row["steps"], row["processor_s"]]
        lines.append([*start, cell(row, "acc"), cell(row, "balanced_acc")])
        previous = row["data"]
    return markdown(["data", "objective", "steps", "processor seconds", "accuracy", "balanced accuracy"], lines)


#: Methods of trajectories.csv -> captions.
TRAJECTORIES = {
    "mtt": "MTT", "window": "growing window (PTM)", "shape": "shape (HoP-TM)", "easy": "easy first (HoP-TM)",
    "hop_tm": "all three (HoP-TM)",
}  # fmt: skip


def trajectories_table() -> str:
    """Report balanced accuracy on val of additions to trajectory matching, at the best rate of MTT."""
    groups: dict[str, dict[str, Rows]] = {}
    for row in read("trajectories"):
        groups.setdefault(row["dataset"], {}).setdefault(row["method"], []).append(row)
    lines = []
    for dataset, rows in groups.items():
        start = quality_groups("hard", "val")[dataset, 10]["herding_f2"][0]
        best = [max(rows[name], key=lambda row: float(row["balanced_acc"])) for name in TRAJECTORIES]
        cells = [cell(row, "balanced_acc") for row in (start, *best)]
        lines.append([f"{dataset} ({start['source']})", *cells, best[0]["fit_seconds"]])
    return markdown(["data", "start: herding, 2 x 2", *TRAJECTORIES.values(), "seconds of MTT"], lines)


def small_budgets_table() -> str:
    """Report balanced accuracy on val of short runs of DC, DSA and DM by rate, beside their start."""
    groups: dict[tuple[str, str, str, str], dict[str, dict[str, Row]]] = {}
    starts: dict[tuple[str, str, str, str], Row] = {}
    for row in read("small_budgets"):
        key = row["dataset"], row["method"], row["ipc"], row["seed"]
        if row["steps"] == "0":
            starts[key] = row
        else:
            groups.setdefault(key, {}).setdefault(row["lr"], {})[row["steps"]] = row
    steps = sorted({int(step) for rates in groups.values() for rows in rates.values() for step in rows})
    lines = []
    for key, rates in sorted(groups.items()):
        start = [f"{key[0]}, {key[1].upper()}, {key[2]} per class", cell(starts.get(key), "balanced_acc")]
        for lr, rows in sorted(rates.items(), key=lambda item: -float(item[0])):
            turn = next(iter(rows.values()))["relative_step"]
            lines.append([*start, lr, turn, *(cell(rows.get(str(step)), "balanced_acc") for step in steps)])
            start = ["", ""]
    head = ["data, method", "start", "lr", "first step / norm of an image", *(f"{step} steps" for step in steps)]
    return markdown(head, lines)


def signal_run_table() -> str:
    """Compare whole runs of DM in one process: seconds and accuracy on val."""
    lines = [
        [row["run"], f"{row['data']}, {row['network']}, {row['steps']} steps", row["seconds"],
         f"{float(row['times_textbook']):.1f}x", f"{100 * float(row['acc']):.1f} ± {100 * float(row['acc_std']):.1f}"]
        for row in read("signal_run")
    ]  # fmt: skip
    return markdown(["run", "data", "seconds", "speed", "accuracy on val"], lines)


def signal_pool_table() -> str:
    """Report balanced accuracy on val of DM over a pool of networks, beside a new network every step."""
    groups: dict[tuple[str, int], dict[str, Row]] = {}
    for row in read("signal_pool"):
        if row["split"] == "val":
            groups.setdefault((row["dataset"], int(row["ipc"])), {})[row["method"]] = row
    names = {
        "fresh": "new network every step", "pool_10": "pool of 10", "pool_30": "pool of 30", "pool_100": "pool of 100",
        "pool_100_longer": "pool of 100, 1,000 steps",
    }  # fmt: skip
    lines = []
    for (dataset, ipc), rows in sorted(groups.items()):
        cells = [cell(rows.get(name), "balanced_acc") for name in names]
        times = [rows[name]["set_seconds"] if name in rows else "-" for name in ("fresh", "pool_100")]
        lines.append([f"{dataset} ({next(iter(rows.values()))['source']}), {ipc} per class", *cells, " / ".join(times)])
    return markdown(["data", *names.values(), "seconds, new / pool of 100"], lines)


def signal_sites_table() -> str:
    """Report balanced accuracy on test of what sites can share: mean and standard deviation over cuts."""
    rows = [row for row in read("signal_sites") if row["split"] == "test"]
    datasets = list(dict.fromkeys(row["dataset"] for row in rows))
    lines = []
    for learned in dict.fromkeys(row["learned"] for row in rows):
        found = {
            name: [row for row in rows if (row["dataset"], row["learned"]) == (name, learned)] for name in datasets
        }
        lines.append([learned, *(seeds_cell(found[name]) for name in datasets)])
    sources = {row["dataset"]: row["source"] for row in rows}
    return markdown(["students learn", *(f"{name} ({sources[name]})" for name in datasets)], lines)


def guarantee_table() -> str:
    """Report balanced accuracy of DM from noisy banks by epsilon, on val and test, beside its limits."""
    rows, lines = read("guarantee"), []
    names = list(dict.fromkeys(row["learned"] for row in rows))
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        found = {(row["learned"], row["split"]): row for row in rows if row["dataset"] == dataset}
        noise = "; ".join(
            f"{name.removeprefix('epsilon ')}: {found[name, 'test']['sigma']}"
            for name in names
            if name.startswith("epsilon") and (name, "test") in found
        )
        start = f"{dataset} ({next(iter(found.values()))['source']})"
        for split in ("val", "test"):
            cells = [cell(found.get((name, split)), "balanced_acc") for name in names]
            lines.append([start, split, *cells, noise])
            start = noise = ""
    return markdown(["data", "", *names, "noise multiplier by epsilon"], lines)


def signal_leakage_table() -> str:
    """Report the rates of both attacks on signal banks, by image and by patient where those are known."""
    found: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    for row in read("signal_leakage"):
        found.setdefault((row["dataset"], row["draws"], row["epsilon"], row["unit"]), {})[row["attack"]] = row
    lines, before, place = [], "", {key[:3]: number for number, key in enumerate(found)}
    for key, attacks in sorted(found.items(), key=lambda item: (place[item[0][:3]], item[0][3] != "image")):
        (dataset, draws, epsilon, unit), some = key, attacks["decoding"]
        start = f"{dataset} ({some['source']}), {int(some['images']):,} images, {some['classes']} classes"
        cells = []
        for attack in ("decoding", "tracing"):
            measured = attacks.get(attack)
            cells += ["-", "-"] if measured is None else [f"{float(measured['auc']):.3f}", rate_cell(measured)]
        lines.append(["" if start == before else start, draws, epsilon, unit, *cells])
        before = start
    head = ["data", "networks", "epsilon", "unit", "decoding, AUC", "TPR at 1 % FPR", "tracing, AUC", "TPR at 1 % FPR"]
    return markdown(head, lines)


def rate_cell(row: Row) -> str:
    """Return the true positive rate at 1 % false positives in percent, with its interval."""
    if row["tpr_at_1"] == "not resolvable":
        return row["tpr_at_1"]
    tpr, low, high = (100 * _or_zero(row[f"{part}_at_1"]) for part in ("tpr", "low", "high"))
    return f"{tpr:.1f} [{low:.1f}, {high:.1f}]"


def leakage_groups() -> dict[tuple[str, str, str, str], dict[str, Rows]]:
    """Return the attacks on images by data set, images per class, recipe and network, then by attacked recipe."""
    groups: dict[tuple[str, str, str, str], dict[str, Rows]] = {}
    for row in read("leakage"):
        if row["unit"] == "image":
            key = row["dataset"], row["ipc"], row["audited"], row["network"]
            groups.setdefault(key, {}).setdefault(row["recipe"], []).append(row)
    return groups


def most_shadows(rows: Rows) -> Rows:
    """Return the rows with the most shadow sets."""
    most = max(int(row["shadows"]) for row in rows)
    return [row for row in rows if int(row["shadows"]) == most]


def strongest(rows: Rows) -> Row:
    """Return the attack with the most true positives at 1 % false positives, then with the largest AUC."""
    return max(most_shadows(rows), key=lambda row: (_or_zero(row["tpr_at_1"]), float(row["auc"])))


def recipe_name(name: str, audited: str) -> str:
    """Return the name of an attacked recipe in words."""
    return audited if name.endswith("Distiller") else RECIPES.get(name, name)


def leakage_table() -> str:
    """Report utility beside the strongest attack on each recipe, by true positives at 1 % false positives."""
    lines = []
    for (dataset, ipc, audited, _), recipes in leakage_groups().items():
        some = next(iter(recipes.values()))[0]
        start = f"{dataset} ({some['source']}), {ipc} per class, {audited}, {some['steps']} steps, {some['network']}"
        for name, found in recipes.items():
            rows = most_shadows(found)
            best = strongest(rows)
            started = max((_or_zero(row["started_tpr"]) for row in rows if row["started_tpr"]), default=None)
            auc = f"{float(best['auc']):.3f} [{float(best['auc_low']):.3f}, {float(best['auc_high']):.3f}]"
            lines.append([
                start, recipe_name(name, audited), best["shadows"], cell(best, "balanced_acc"), best["attack"], auc,
                rate_cell(best), "-" if started is None else f"{100 * started:.0f}",
            ])  # fmt: skip
            start = ""
    head = ["data", "recipe", "halves", "balanced accuracy, val", "strongest attack", "AUC", "TPR at 1 % FPR",
            "starts found"]  # fmt: skip
    return markdown(head, lines)


def leakage_cost_table() -> str:
    """Report the seconds of making and of measuring the shadow sets of each recipe, and the peak memory."""
    lines = []
    for (dataset, ipc, audited, network), recipes in leakage_groups().items():
        # The rows of one audit have equal times: one of each number of shadow sets.
        audits = [
            (name, row) for name, rows in recipes.items() for row in {row["shadows"]: row for row in rows}.values()
        ]
        for name, row in audits:
            make, measure = float(row["make_seconds"]), float(row["measure_seconds"])
            total = int(row["shadows"]) * (make + measure) / 60
            lines.append([
                f"{dataset}, {ipc} per class, {network}", recipe_name(name, audited), row["shadows"], f"{make:.1f}",
                f"{measure:.1f}", f"{total:.0f}", f"{int(row['peak_mb']):,}",
            ])  # fmt: skip
    head = ["data", "recipe", "shadow sets", "s to make one", "s to measure one", "minutes for all", "peak MB"]
    return markdown(head, lines)


def _or_zero(text: str) -> float:
    """Return a number of a cell; 0 for one without."""
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0


RESULTS = "benchmarks/results/README.md"
LEAKAGE = "lightning_distill/leakage/README.md"
SIGNALS = "lightning_distill/signals/README.md"
GENERATED = "lightning_distill/generators/README.md"
TIMINGS = "benchmarks/README.md"
SETS = "lightning_distill/sets/README.md"
#: Name of a table -> the file it stands in, and the function that makes it.
#: Defects of ``inspection.csv``, their captions, and the check that is to find them.
DEFECTS = {
    "none": ("none", ""),
    "square": ("bright square, in all images of a class", "triggers"),
    "noise": ("random pattern, in all images of a class", "triggers"),
    "noisy": ("random pattern with noise of 8 levels", "triggers"),
    "copy": ("an image also under another class", "contradictions"),
    "speck": ("an isolated bright pixel in one image", "outliers"),
}


def inspection_table() -> str:
    """Report how many sets have findings, by kind of set, defect and images per class."""
    lines, kinds = [], {"picks": "real images", "distilled": "distilled (defect in the real data)"}
    groups: dict[tuple[str, str, str], Rows] = {}
    for row in read("inspection"):
        groups.setdefault((row["kind"], row["defect"], row["per_class"]), []).append(row)
    order = list(DEFECTS)
    for (kind, defect, size), rows in sorted(
        groups.items(), key=lambda item: (item[0][0] != "picks", order.index(item[0][1]), int(item[0][2]))
    ):
        checks = ("contradictions", "outliers", "triggers")
        total = sum(int(row["sets"]) for row in rows)
        found = {check: sum(int(row[check]) for row in rows) for check in checks}
        cells = [f"**{found[check]}**" if DEFECTS[defect][1] == check else str(found[check]) for check in checks]
        lines.append([kinds[kind], DEFECTS[defect][0], size, str(total), *cells])
    return markdown(
        ["images", "defect", "images per class", "sets", "with contradictions", "with outliers", "with triggers"], lines
    )


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "overview": ("README.md", overview_table),
    "quality": (RESULTS, quality_table),
    "learned_labels": (RESULTS, learned_labels_table),
    "soft_labels": (RESULTS, soft_labels_table),
    "architectures": (RESULTS, architectures_table),
    "dm_formation": (RESULTS, dm_formation_table),
    "objectives": (RESULTS, objectives_table),
    "trajectories": (RESULTS, trajectories_table),
    "small_budgets": (RESULTS, small_budgets_table),
    "signal_pool": (RESULTS, signal_pool_table),
    "signal_sites": (RESULTS, signal_sites_table),
    "guarantee": (RESULTS, guarantee_table),
    "leakage": (LEAKAGE, leakage_table),
    "signal_leakage": (SIGNALS, signal_leakage_table),
    "dm": (RESULTS, dm_table),
    "reference": (RESULTS, reference_table),
    "fashionmnist": (RESULTS, fashionmnist_table),
    "medical": (RESULTS, lambda: grid_table("medical", ("acc", "balanced_acc"))),
    "mnist": (RESULTS, lambda: grid_table("mnist", ("acc",))),
    "selection": (RESULTS, lambda: grid_table("selection", ("acc", "balanced_acc"))),
    "krr": (RESULTS, krr_table),
    "dm_weight": (RESULTS, dm_weight_table),
    "krr_ridge": (RESULTS, krr_ridge_table),
    "sites": (RESULTS, sites_table),
    "resolution": (RESULTS, resolution_table),
    "generators": (GENERATED, generators_table),
    "generators_fidelity": (GENERATED, generators_fidelity_table),
    "indicator": (RESULTS, indicator_table),
    "indicator_guide": ("lightning_distill/indicator/README.md", indicator_table),
    "inspection": (SETS, inspection_table),
    "speed": (TIMINGS, speed_table),
    "agreement": (TIMINGS, agreement_table),
    "signal_run": (TIMINGS, signal_run_table),
    "growth": (TIMINGS, growth_table),
    "leakage_cost": (TIMINGS, leakage_cost_table),
    "scaling": (TIMINGS, scaling_table),
    "memory": (TIMINGS, memory_table),
    "large": (TIMINGS, large_table),
}


def main(check: bool) -> int:
    """Write the tables, or compare them. Return 1 if a comparison fails."""
    outdated = []
    for file in dict.fromkeys(file for file, _ in TABLES.values()):
        path = ROOT / file
        text = new = path.read_text()
        for name, (target, table) in TABLES.items():
            if target == file:
                start, end = f"<!-- table:{name} -->\n", f"<!-- /table:{name} -->"
                before, rest = new.split(start)
                _, after = rest.split(end)
                new = f"{before}{start}\n{table()}\n\n{end}{after}"
        if new != text and check:
            outdated.append(file)
        elif new != text:
            path.write_text(new)
    for file in outdated:
        print(f"{file}: tables differ from benchmarks/results; run python benchmarks/tables.py", file=sys.stderr)
    return int(bool(outdated))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
