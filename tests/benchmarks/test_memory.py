"""The scripts under ``benchmarks/`` that measure, tiny: they run, write their rows, and keep what is there."""

from __future__ import annotations

import csv

import pytest
from conftest import ROOT

from lightning_distill.bench.cases import Variant

EAGER = Variant()


@pytest.fixture
def scripts(monkeypatch):
    """The scripts can be imported, find digits for data, and compile nothing."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("FASHIONMNIST_ROOT", "nowhere")
    monkeypatch.setenv("MNIST_ROOT", "nowhere")


@pytest.fixture
def speed(scripts, monkeypatch):
    import speed

    monkeypatch.setattr(speed, "VARIANTS", {work: [EAGER] for work in speed.VARIANTS})
    return speed


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_speed_has_a_row_for_every_path_and_keeps_what_is_there(speed, tmp_path):
    speed.main(["--quick", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "speed.csv")
    assert [row["work"] for row in rows] == ["dm", "dm_pool", "dc", "dsa", "student", "mtt"]
    assert all(float(row["ratio"]) > 0 and row["machine"] and row["date"] for row in rows)
    before = (tmp_path / "speed.csv").read_bytes()
    speed.main(["--quick", f"--out={tmp_path}"])
    assert (tmp_path / "speed.csv").read_bytes() == before


def test_speed_of_another_machine_is_another_row(speed, tmp_path, monkeypatch):
    for name in ("one", "another"):
        monkeypatch.setattr(speed, "machine_description", lambda name=name: name)
        monkeypatch.setattr(speed, "provenance", lambda command, name=name: {"machine": name, "lightning_distill": "0"})
        speed.main(["--quick", "--only=student", f"--out={tmp_path}"])
    assert (tmp_path / "speed.csv").read_text().splitlines()[0].split(",").count("machine") == 1
    assert [row["machine"] for row in rows_of(tmp_path / "speed.csv")] == ["one", "another"]


def test_speed_leaves_emulated_bf16_out(speed, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(speed, "VARIANTS", {**speed.VARIANTS, "dm": [EAGER, speed.BFLOAT]})
    monkeypatch.setattr(speed, "bf16_is_native", lambda device: False)
    speed.main(["--quick", "--only=dm", f"--out={tmp_path}"])
    assert [row["variant"] for row in rows_of(tmp_path / "speed.csv")] == ["32/off"]
    assert "dm bf16/max: left out, bf16 is only emulated here" in capsys.readouterr().out


def test_speed_names_a_missing_file_of_the_authors_and_an_unknown_part(speed, tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match=r"networks\.py is not in .*DatasetCondensation"):
        speed.main(["--quick", f"--authors={tmp_path}", f"--out={tmp_path}"])
    with pytest.raises(SystemExit):
        speed.main(["--only=dm,speed"])
    assert "unknown part 'speed'; use any of dm, student" in " ".join(capsys.readouterr().err.split())


def test_agreement_of_float32_is_rounding(scripts, tmp_path, monkeypatch):
    import agreement

    monkeypatch.setattr(agreement, "SIDES", {"textbook": None, "32/off": EAGER})
    agreement.main(["--quick", "--only=dm,student,mtt", "--sides=32/off", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "agreement.csv")
    assert [(row["work"], row["side"]) for row in rows] == [
        (work, side) for work in ("dm", "student", "mtt") for side in ("textbook", "32/off")
    ]
    assert all(float(row["acc"]) > 0 and "digits" in row["of"] for row in rows)
    by_side = {(row["work"], row["side"]): row for row in rows}
    # One step of DM from the same images with the same students: only what was drawn for augmentation may differ.
    assert abs(float(by_side["dm", "32/off"]["points_off"])) < 5
    assert all(row["points_off_ci95"] for row in rows if row["side"] != "textbook")


def test_points_off_are_a_difference_of_means(scripts):
    import agreement

    points, half = agreement.compare([0.50, 0.52], [0.40, 0.44])
    assert points == pytest.approx(9.0)
    error = (0.01**2 + 0.02**2) ** 0.5  # of the difference of two means of two
    freedom = error**4 / (0.01**4 + 0.02**4)
    from scipy import stats

    assert half == pytest.approx(100 * stats.t.ppf(0.975, freedom) * error)


def test_growth_has_a_line_through_every_series(scripts, tmp_path):
    import growth

    growth.main(["--quick", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "growth.csv")
    series = [(name, str(value)) for name, values in growth.TINY_SERIES.items() for value in values]
    assert [(row["series"], row["value"]) for row in rows if row["slope_ms"]] == series
    first = rows[0]
    assert float(first["ms_a_unit"]) == pytest.approx(float(first["ours_ms"]) / 2, rel=1e-3)
    assert float(first["to_first"]) == 1


@pytest.mark.parametrize(("work", "side"), [("dm", "ours"), ("dm", "textbook"), ("dc", "ours"), ("mtt", "ours")])
def test_memory_is_that_of_the_process(scripts, work, side):
    import json
    from dataclasses import asdict

    import memory

    size = memory.Size(2, 1, 8, 2, 4, 40 if work == "dm" else None, "convnet_w16", 2, 1, 2)
    case = memory.Case(work, size, side, constant_memory=False, steps=2)
    numbers = memory.child(json.dumps(asdict(case)))
    assert numbers["peak_mib"] >= numbers["above_start_mib"] >= 0


def test_memory_measures_both_sides_and_what_grows(scripts):
    import memory

    cases = memory.cases(memory.Size(), 50_000, (2, 10, 100))
    keys = [tuple(case.key.values()) for case in cases]
    assert len(set(keys)) == len(keys)
    assert {case.side for case in cases} == {"ours", "textbook"}
    assert {case.size.classes for case in cases if case.work == "dm"} == {2, 10, 100}
    assert {(case.size.syn_steps, case.constant_memory) for case in cases if case.work == "mtt"} == {
        (steps, constant) for steps in (5, 10, 20) for constant in (True, False)
    }


def test_class_gradients_of_loop_and_vmap_are_one(scripts, tmp_path):
    import class_gradients

    class_gradients.main(["--quick", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "class_gradients.csv")
    assert [row["images"] for row in rows] == ["2", "4"]
    assert all(float(row["difference"]) < 1e-4 and float(row["loop_ms"]) > 0 < float(row["vmap_ms"]) for row in rows)


def test_leak_splits_the_same_images_two_ways_and_goes_on_where_it_was_killed(scripts, tmp_path, monkeypatch):
    import leak

    pool = leak.generated()
    for seed in (0, 1):
        (clean, held), (leaking, test) = (leak.rows_of(split, pool, seed) for split in leak.SPLITS)
        assert len(clean) == len(leaking)
        assert not set(pool[2][clean]) & set(pool[2][held])
        assert set(pool[2][leaking]) & set(pool[2][test])
        assert sorted([*clean, *held]) == sorted([*leaking, *test]) == list(range(len(pool[1])))
    learn, killed = leak.student, []

    def student(split, pool, spec, protocol, seed):
        if len(killed) < 1 and (split, seed) == ("images", 1):
            killed.append(seed)
            raise KeyboardInterrupt
        return learn(split, pool, spec, protocol, seed)

    monkeypatch.setattr(leak, "student", student)
    with pytest.raises(KeyboardInterrupt):
        leak.main(["--quick", f"--out={tmp_path}"])
    before = rows_of(tmp_path / "leak.csv")
    leak.main(["--quick", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "leak.csv")
    assert rows[:3] == before
    assert [(row["split"], row["seeds"], row["students"]) for row in rows] == [
        ("lesions", "0", "1"), ("images", "0", "1"), ("lesions", "1", "1"), ("images", "1", "1"),
        ("lesions", "0-1", "2"), ("images", "0-1", "2"), ("images less lesions", "0-1", "2"),
    ]  # fmt: skip
    assert [float(row["shared"]) > 0 for row in rows[:6]] == [False, True] * 3
    auroc = [float(row["auroc"]) for row in rows]
    assert auroc[6] == pytest.approx(auroc[5] - auroc[4], abs=2e-5)
    assert all(row["machine"] and row["command"] == "python benchmarks/leak.py --quick" for row in rows)


def test_scaling_has_one_and_two_processes_that_agree(scripts, tmp_path):
    import scaling

    scaling.main(["--quick", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "scaling.csv")
    assert [row["processes"] for row in rows] == ["1", "2"]
    assert all(float(row["difference"]) < 1e-5 for row in rows)


def test_large_measures_draws_fits_and_steps_and_keeps_what_is_there(scripts, tmp_path, monkeypatch):
    import json
    import subprocess

    import large

    def here(command, **options):  # a process of its own would import everything six times
        return subprocess.CompletedProcess(command, 0, json.dumps(large.child(command[-1])))

    monkeypatch.setattr(large.subprocess, "run", here)
    large.main(["--quick", "--only=draws,fit", f"--out={tmp_path}"])
    rows = rows_of(tmp_path / "large.csv")
    assert [(row["work"], row["how"]) for row in rows] == [
        ("draws", "rows"), ("draws", "rows"), ("draws", "map"), ("draws", "rows"), ("fit", "rows"), ("fit", "rows"),
    ]  # fmt: skip
    assert all(float(row["peak_mib"]) >= float(row["above_start_mib"]) >= 0 for row in rows)
    assert all(float(row["s_a_step" if row["work"] == "fit" else "warm_batches_per_s"]) > 0 for row in rows)
    before = (tmp_path / "large.csv").read_bytes()
    large.main(["--quick", "--only=draws,fit", f"--out={tmp_path}"])
    assert (tmp_path / "large.csv").read_bytes() == before


def test_large_writes_what_numpy_reads_noise_or_a_sparse_file(scripts, tmp_path, monkeypatch):
    import large
    import numpy as np

    case = large.cases(quick=True)["draws"][2]
    for sparse_above in (8.0, 0.0):
        monkeypatch.setattr(large, "SPARSE_ABOVE", sparse_above)
        large.write_images(tmp_path / "x.npy", case)
        images = np.load(tmp_path / "x.npy")
        assert images.shape == (case.count, 8, 8, 3)
        assert bool(images.any()) == (sparse_above > 0)
    labels = large.labels_of(case.count)
    assert len(labels) == case.count
    assert set(labels) == set(range(10))
    assert np.bincount(labels).argmax() == 0
    monkeypatch.setattr(large, "SPARSE_ABOVE", 8.0)
    monkeypatch.setattr(large.shutil, "disk_usage", lambda path: type("Disk", (), {"free": 10}))
    with pytest.raises(OSError, match=r"GB are to be written but twice as much is not free; set TMPDIR"):
        large.write_images(tmp_path / "y.npy", case)


def test_large_steps_are_those_of_dm_and_dsa_at_both_sizes(scripts, monkeypatch):
    import large

    from lightning_distill.functional import chunking as chunks

    monkeypatch.setattr(chunks, "CPU_BACKWARD_BYTES", chunks.CPU_BACKWARD_BYTES)
    cases = large.cases(quick=False)["step"]
    assert [(case.work, case.how, case.size.side, case.size.network) for case in cases] == [
        ("dm", "as shipped", 224, "convnet_d6"), ("dm", "keep all", 224, "convnet_d6"),
        ("dsa", "as shipped", 224, "convnet_d6"), ("dm", "as shipped", 512, "convnet_d7"),
    ]  # fmt: skip
    quick = large.cases(quick=True)["step"][1]
    assert large.fit(quick, None)["s_a_step"] > 0
