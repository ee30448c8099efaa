"""The grid of methods and picks, with hard and with soft labels."""

from __future__ import annotations

import csv
import subprocess
import sys
from itertools import product

import pytest
import yaml
from conftest import ROOT

GRIDS = sorted(path for path in (ROOT / "benchmarks/grids").glob("*.yaml") if "\nmethods:" in path.read_text())
QUICK = ["--quick", "--only", "*-dm_f2-*-soft_balanced,*-herding-*-hard,*-herding-*-soft_natural", "--out"]


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import quality

    return quality


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda path: path.stem)
def test_shipped_grids_can_be_read_and_their_rows_belong_to_jobs(grid, script):
    about = yaml.safe_load(grid.read_text())
    jobs = list(script.jobs_of(about))
    assert len(set(map(str, jobs))) == len(jobs) > 0
    results = ROOT / "benchmarks" / "results" / f"{grid.stem}.csv"
    for row in read(results) if results.is_file() else []:
        words = [row[key] for key in ("dataset", "ipc", "method", "seed", "labels")]
        words += [row["network"].replace("/", "_")] if "student_networks" in about else []
        assert "-".join(words) in map(str, jobs)
        made, now = yaml.safe_load(row["options"]), about["methods"][row["method"]]
        which = {"seeds", "skip", "only", "ipc", "labels"}  # these select jobs and do not change them
        assert {key: made[key] for key in made.keys() - which} == {key: now[key] for key in now.keys() - which}


def test_jobs_run_in_the_order_of_the_patterns_and_once(script, tmp_path, capsys):
    script.main([*QUICK, str(tmp_path)])
    rows = read(tmp_path / "quality.csv")
    order = [("dm_f2", "soft_balanced"), ("herding", "hard"), ("herding", "soft_natural")]
    assert [(row["method"], row["labels"]) for row in rows[::2]] == order
    assert [row["split"] for row in rows] == ["val", "test"] * 3
    assert [row["formation"] for row in rows[::2]] == ["2", "1", "1"]
    assert int(rows[2]["bytes"]) == 10 * 64 + 10 * 8  # uint8 pixels and int64 labels
    assert int(rows[4]["bytes"]) == 10 * 64 + 10 * 8 + 10 * 10 * 4  # and float32 probabilities
    assert {row["machine"] for row in rows} != {""}
    capsys.readouterr()
    script.main([*QUICK, str(tmp_path)])
    assert "0 of 3 jobs have no rows" in capsys.readouterr().out


def test_learned_labels_are_scored_beside_hard_ones_on_the_same_set(script, tmp_path):
    grid = yaml.safe_load((ROOT / "benchmarks/grids/quality.yaml").read_text())
    del grid["methods"]["krr_long"]["skip"]  # the quick size is that of digits
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    words = ["--grid", str(tmp_path / "grid.yaml"), "--only", "*-krr_long-*", "--out", str(tmp_path)]
    script.main(["--quick", *words])
    rows = read(tmp_path / "grid.csv")
    assert [row["labels"] for row in rows] == ["hard", "hard", "learned", "learned"]
    hard, learned = rows[::2]
    assert int(learned["bytes"]) - int(hard["bytes"]) == 10 * 4 * 10 * 4, "float32 probabilities of every sub-image"
    assert hard["set_seconds"] == learned["set_seconds"]
    assert hard["balanced_acc"] != learned["balanced_acc"]


def test_students_of_several_networks_are_trained_on_one_set(script, tmp_path, capsys):
    grid = yaml.safe_load((ROOT / "benchmarks/grids/architectures.yaml").read_text())
    grid["student_networks"] = ["convnet_w16", "mlp"]
    (tmp_path / "nets.yaml").write_text(yaml.safe_dump(grid))
    only = ["--only", "*-herding-*,*-dm_f2-*"]
    words = ["--quick", "--grid", str(tmp_path / "nets.yaml"), *only, "--out", str(tmp_path)]
    script.main(words)
    rows = read(tmp_path / "nets.csv")
    assert [(row["method"], row["network"]) for row in rows[::2]] == [
        ("herding", "convnet_w16"), ("herding", "mlp"), ("dm_f2", "convnet_w16"), ("dm_f2", "mlp"),
    ]  # fmt: skip
    assert rows[4]["set_seconds"] == rows[6]["set_seconds"], "one distillation for both"
    assert rows[4]["acc"] != rows[6]["acc"]
    capsys.readouterr()
    script.main(words)
    assert "0 of 4 jobs have no rows" in capsys.readouterr().out


def test_processes_give_the_rows_of_one_and_name_a_job_that_fails(script, tmp_path, capsys, monkeypatch):
    script.main([*QUICK, str(tmp_path / "one")])
    script.main([*QUICK, str(tmp_path / "two"), "--jobs", "2"])
    plain = ("method", "labels", "split", "acc", "balanced_acc")
    one, two = [
        sorted(tuple(row[key] for key in plain) for row in read(tmp_path / name / "quality.csv"))
        for name in ("one", "two")
    ]
    assert one == two
    grid = yaml.safe_load((ROOT / "benchmarks/grids/quality.yaml").read_text())
    grid["methods"] = {"herding": {"pick": "herding"}, "bad": {"pick": "nothing"}}
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(grid))
    capsys.readouterr()
    script.main(
        ["--quick", "--jobs", "2", "--grid", str(tmp_path / "bad.yaml"), "--out", str(tmp_path), "--only", "*-hard"]
    )
    assert "digits-1-bad-0-hard: " in capsys.readouterr().out
    assert [row["method"] for row in read(tmp_path / "bad.csv")] == ["herding", "herding"]


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import quality
from lightning_distill.bench import shared_jobs
shared_jobs.POLL_SECONDS = 0.2
run = quality.Runner.run
def noted(self, job):
    with open(sys.argv[2] + "/log", "a") as file:
        file.write(f"{job}\\n")
    return run(self, job)
quality.Runner.run = noted
quality.main(["--quick", "--only", "*-hard", "--grid", sys.argv[2] + "/shared.yaml", "--out", sys.argv[2]])
"""


def test_two_workers_on_one_grid_share_the_jobs_and_every_row_is_there_once(tmp_path):
    grid = yaml.safe_load((ROOT / "benchmarks/grids/quality.yaml").read_text())
    methods = {"herding": "herding", "kmeans": "kmeans", "kcenter": "kcenter", "random": "random"}
    grid["methods"] = {name: {"pick": pick} for name, pick in methods.items()}
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(grid))
    command = [sys.executable, "-c", WORKER, str(ROOT / "benchmarks"), str(tmp_path)]
    workers = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]
    assert [worker.wait(280) for worker in workers] == [0, 0]
    rows = read(tmp_path / "shared.csv")
    assert sorted((row["method"], row["split"]) for row in rows) == sorted(product(methods, ("val", "test")))
    assert len((tmp_path / "log").read_text().split()) == len(methods)  # none was done twice
