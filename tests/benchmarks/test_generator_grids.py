"""Generated and latent sets in the grid of quality.py, the sweep of generators, and their tables and figure."""

from __future__ import annotations

import csv

import pytest
from conftest import ROOT
from PIL import Image

GRID = ROOT / "benchmarks" / "grids" / "generators.yaml"


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import generators_figure
    import generators_picture
    import quality
    import sweep_generators
    import tables

    return quality, sweep_generators, tables, (generators_figure, generators_picture)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_generated_and_latent_sets_stand_beside_picks(scripts, tmp_path, monkeypatch):
    quality, _, tables, (figure, picture) = scripts
    only = "digits-1-random-0-hard,digits-1-flow-0-*,digits-1-gan-0-hard,digits-1-dm_latent-0-hard"
    quality.main(["--quick", "--grid", str(GRID), "--only", only, "--out", str(tmp_path)])
    rows = {(row["method"], row["labels"], row["split"]): row for row in read(tmp_path / "generators.csv")}
    assert len(rows) == 10
    flow, soft = rows["flow", "hard", "val"], rows["flow", "soft_balanced", "val"]
    assert float(flow["generator_seconds"]) > 0
    assert flow["images"] == "10"
    assert 0 <= float(flow["copies"]) <= 1
    assert 0 <= float(flow["copies_null"]) <= 1
    assert soft["copies"] == ""  # the images are those of the row with hard labels
    assert int(soft["bytes"]) > int(flow["bytes"])
    assert rows["random", "hard", "val"]["generator_seconds"] == ""
    checkpoints = sorted(path.name for path in (tmp_path / "generators").glob("*.ckpt"))
    assert checkpoints == ["generator-flow-digits-0.ckpt", "generator-gan-digits-0.ckpt"]  # the latent set took the GAN
    monkeypatch.setattr(tables, "read", lambda name: read(tmp_path / f"{name}.csv") if name == "generators" else [])
    assert "| 1 | soft | - | - | - | " in tables.generators_table()
    assert tables.generators_fidelity_table().count("\n") == 1  # one image a class is too few for a distance
    figure.main(tmp_path / "figure.png")
    assert Image.open(tmp_path / "figure.png").size[0] > 400
    sets = [f"{name}={tmp_path / 'generators' / f'digits-1-{folder}-0' / 'last'}" for name, folder in
            (("drawn", "flow"), ("in the GAN", "dm_latent"))]  # fmt: skip
    picture.main(["--sets", *sets, "--out", str(tmp_path)])
    assert Image.open(tmp_path / "generators_compared.png").size[1] > 20 * 96  # a row for each class of each set


def test_the_sweep_scores_generated_and_random_images_against_all_real_ones(scripts, tmp_path, monkeypatch):
    _, sweep, tables, _ = scripts
    sweep.main(["--quick", "--out", str(tmp_path)])
    rows = read(tmp_path / "sweep_generators.csv")
    assert [(row["method"], row["value"], row["images"]) for row in rows] == [("random", "2", "2"), ("flow", "2", "2")]
    for row in rows:
        gap = float(row["all_real"]) - float(row["balanced_acc"])
        assert float(row["gap"]) == pytest.approx(gap, abs=2e-5)
        assert float(row["gap_low"]) <= float(row["gap"]) <= float(row["gap_high"])
    monkeypatch.setattr(tables, "read", lambda name: read(tmp_path / f"{name}.csv"))
    assert "digits (shipped with scikit-learn), 2 classes" in tables.sweep_generators_table()


def test_the_most_frequent_classes_keep_their_images_names_and_order(scripts):
    _, sweep, _, _ = scripts
    whole = sweep.most_frequent("digits", 10, 4)
    some = sweep.most_frequent("digits", 3, 4)
    counts = whole.spec.class_names, [int((whole.splits["train"][1] == label).sum()) for label in range(10)]
    largest = sorted(sorted(range(10), key=lambda label: -counts[1][label])[:3])
    assert some.spec.class_names == tuple(counts[0][label] for label in largest)
    kept = [int((some.splits["train"][1] == label).sum()) for label in range(3)]
    assert kept == [counts[1][label] for label in largest]
    assert some.spec.task == "multi-class"
    assert sweep.most_frequent("digits", 2, 4).spec.task == "binary"
