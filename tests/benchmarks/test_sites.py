"""The benchmark of synthetic sets that sites share, and its tables."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from conftest import ROOT

from lightning_distill import ArrayDataModule


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import sites

    monkeypatch.setattr(sites, "DigitsDataModule", clinic)
    monkeypatch.setattr(sites, "IPC", 2)
    monkeypatch.setattr(sites, "STUDENTS", 2)
    return sites


def clinic():
    """Two classes, 160 train, 40 val and 40 test images of 8x8 px, two images a patient."""
    random = np.random.default_rng(0)

    def split(count):
        labels = np.arange(count) // 2 % 2
        images = random.integers(0, 120, (count, 1, 8, 8)) + 100 * labels[:, None, None, None]
        return images.astype(np.uint8), labels

    groups = {"train": np.arange(160) // 2, "val": 500 + np.arange(40) // 2, "test": 1000 + np.arange(40) // 2}
    return ArrayDataModule(split(160), split(40), split(40), channels="first", name="clinic", groups=groups)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_everything_is_shown_to_every_site_and_goes_on_where_it_was_killed(script, tmp_path, monkeypatch):
    arguments = ["--quick", "--out", str(tmp_path)]
    script.main(arguments)
    rows = rows_of(tmp_path / "sites.csv")
    tested = ["site 0", "site 1", "site 2", "site 3 (shares nothing)", "all sites"]
    learned = list(dict.fromkeys(row["learned"] for row in rows))
    assert [row["tested"] for row in rows] == tested * 12
    assert len(learned) == 12
    images = {row["learned"]: int(row["images"]) for row in rows}
    alone = [images[f"own images of site {site}"] for site in range(3)]
    assert alone[0] > alone[1] > alone[2]
    assert sum(alone) == images["all images of all sharing"]
    assert images["sets of all sharing"] == images["random images, as many"] == 3 * 2 * 2
    assert images["own images of site 2 and the others' sets"] == alone[2] + 2 * 2 * 2
    sizes = [int(row["tested_images"]) for row in rows[:5]]
    assert sum(sizes[:4]) == sizes[4] == 40

    before = rows[:20] + rows[25:]  # as if it had been killed before the fifth learner was written
    with (tmp_path / "sites.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(before)
    made = []
    monkeypatch.setattr(script, "StudentEvaluator", lambda *a, **k: made.append(1) or StudentEvaluator(*a, **k))
    from lightning_distill.evaluation import StudentEvaluator

    script.main(arguments)
    again = {(row["learned"], row["tested"]): row["acc"] for row in rows_of(tmp_path / "sites.csv")}
    assert made == [1]
    assert again == {(row["learned"], row["tested"]): row["acc"] for row in rows}


def test_the_table_has_a_line_for_each_way_to_learn(script, monkeypatch):
    import tables

    def row(learned, tested, acc, images="6"):
        return {"dataset": "clinic", "source": "a file", "learned": learned, "tested": tested, "images": images,
                "balanced_acc": str(acc), "balanced_acc_std": "0.01"}  # fmt: skip

    tested = ("site 0", "site 1", "site 2 (shares nothing)", "all sites")
    rows = [row("own images of site 0", place, 0.5) for place in tested]
    rows += [row("own images of site 1", place, 0.7, "4") for place in tested]
    rows += [row("sets of all sharing", place, acc) for place, acc in zip(tested, (0.5, 0.6, 0.7, 0.8), strict=True)]
    monkeypatch.setattr(tables, "read", lambda name: rows if name == "sites" else [])
    lines = tables.sites_table().splitlines()
    assert lines[2].startswith("| clinic (a file) | own images of one site | 6, 4 | 60.0 (50.0 to 70.0) |")
    assert lines[3] == "| | synthetic sets of three sites | 6 | 55.0 | 70.0 ± 1.0 | 80.0 ± 1.0 |"
    assert len(lines) == 4


def test_resolutions_are_in_the_order_of_their_size(script, monkeypatch):
    import tables

    def row(side, method, ipc, acc):
        name = "breastmnist" + ("" if side == 28 else f"_{side}")
        scores = {f"{metric}{end}": value for metric in ("acc", "balanced_acc") for end, value in
                  (("", str(acc)), ("_std", "0.02"))}  # fmt: skip
        return {"dataset": name, "source": "a file", "trained_on": method, "ipc": ipc, "fit_seconds": "12", **scores}

    rows = [row(side, *what) for side in (128, 28) for what in
            (("random", "1", 0.5), ("DMDistiller", "1", 0.6), ("full", "all", 0.9))]  # fmt: skip
    monkeypatch.setattr(tables, "read", lambda name: rows if name == "resolution" else [])
    lines = tables.resolution_table().splitlines()
    assert lines[2] == "| 28 px (a file) | 1 | accuracy | 50.0 ± 2.0 | 60.0 ± 2.0 | 90.0 ± 2.0 | 12 s |"
    assert lines[4].startswith("| 128 px (a file) | 1 |")


def test_tables_read_the_keys_of_version_0_1_0(script, monkeypatch, tmp_path):
    import tables

    (tmp_path / "results").mkdir()
    text = "trained_on,acc\nall real data,0.9\nfull,0.8\nrandom,0.5\n"
    (tmp_path / "results/some.csv").write_text(text)
    monkeypatch.setattr(tables, "HERE", tmp_path)
    assert [row["trained_on"] for row in tables.read("some")] == ["full", "full", "random"]
    assert tables.read("none") == []


def test_methods_stand_beside_the_pick_that_is_best_on_val(script, monkeypatch):
    import tables

    def row(method, split, score, seed="0", images="20", ipc="10"):
        return {"dataset": "clinic", "source": "a file", "method": method, "ipc": ipc, "images": images, "seed": seed,
                "labels": "hard", "split": split, "balanced_acc": str(score), "balanced_acc_std": "0.01"}  # fmt: skip

    rows = [
        row("random", "val", 0.5), row("random", "test", 0.4), row("herding", "val", 0.65),
        row("herding", "test", 0.6), row("kmeans_f2", "val", 0.6), row("kmeans_f2", "test", 0.9),
        row("dm_f2", "val", 0.7), row("dm_f2", "test", 0.6),
        row("krr", "val", 0.6), row("krr", "val", 0.7, "1"), row("krr", "test", 0.8), row("krr", "test", 0.6, "1"),
        row("full", "val", 0.9, images="500"), row("full", "test", 0.85, images="500"),
    ]  # fmt: skip
    monkeypatch.setattr(tables, "read", lambda name: rows if name == "quality" else [])
    monkeypatch.setattr(tables, "QUALITY_METHODS", {"dm_f2": "DM", "krr": "KRR"})
    assert tables.quality_table().splitlines()[2:] == [
        "| clinic (a file) | 20 | val | 50.0 ± 1.0 | 65.0 ± 1.0 (herding) | **70.0 ± 1.0** | 65.0 ± 7.1 (2) "
        "| 90.0 ± 1.0 |",
        "| |  | test | 40.0 ± 1.0 | 60.0 ± 1.0 (herding) | **60.0 ± 1.0** | 70.0 ± 14.1 (2) | 85.0 ± 1.0 |",
    ]
    import headline

    monkeypatch.setattr(headline, "quality_groups", tables.quality_groups)
    assert headline.points("clinic") == [(pytest.approx(4.0), pytest.approx(60 / 0.85), pytest.approx(60 / 0.85))]

    assert tables.overview_table().count("\n") == 1, "no data set has rows of one image a class"
    rows += [row(method, split, score, ipc="1", images="2") for split in ("val", "test")
             for method, score in (("herding", 0.5), ("krr_500_f1", 0.6), ("dm_f2", 0.7))]  # fmt: skip
    assert tables.overview_table().splitlines()[2:] == [
        "| clinic (a file) | 50.0 ± 1.0 (herding) | **70.0 ± 1.0** | 60.0 ± 1.0 | 60.0 ± 1.0 (herding) | "
        "**60.0 ± 1.0** | - | 85.0 ± 1.0 |"
    ]
