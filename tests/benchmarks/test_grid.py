"""The grid runner: rows, skipping, failing and going on. Commands run in this process, small."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from lightning_distill.cli import main as command
from lightning_distill.sets.coresets import METHODS

GRIDS = sorted(path for path in (ROOT / "benchmarks/grids").glob("*.yaml") if "configs:" in path.read_text())
SMALL = {
    "out": "out.csv",
    "folder": "runs",
    "configs": ["digits_dc", "digits_mtt"],
    "ipc": [1],
    "baselines": ["random"],
    "fit": {
        "model.network": "convnet_w16", "data.real_per_class": 8, "trainer.max_steps": 2, "trainer.accelerator": "cpu",
        "trainer.limit_val_batches": 0, "trainer.enable_model_summary": "false",
    },
    "evaluate": {"protocol": "tiny", "students": 2, "architectures": "[convnet_w16]", "accelerator": "cpu"},
    "experts": {"count": 1, "epochs": 2, "accelerator": "cpu"},
    "rules": [{"match": "*_mtt-*", "fit": {"model.max_start": 1, "model.expert_epochs": 1, "model.syn_steps": 2}}],
}  # fmt: skip


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """benchmarks/run.py as a module, in an empty folder, with every call noted and done in this process."""
    spec = importlib.util.spec_from_file_location("grid_runner", ROOT / "benchmarks" / "run.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "grid_runner", module)
    spec.loader.exec_module(module)
    module.calls = []

    def call(arguments, log):
        module.calls.append(arguments)
        log.write_text("said something\n")
        try:
            command(arguments)
        except SystemExit as stop:
            raise RuntimeError(f"{arguments[0]} ended with {stop.code}") from stop

    monkeypatch.setattr(module, "call", call)
    monkeypatch.chdir(tmp_path)
    return module


def write(grid, **changes):
    with open("grid.yaml", "w") as file:
        yaml.safe_dump({**grid, **changes}, file)
    return ["grid.yaml"]


def rows():
    with open("out.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_one_row_a_job_and_none_is_done_twice(runner, capsys):
    arguments = write(SMALL)
    assert runner.main(arguments) == 0
    by_job = {row["job"]: row for row in rows()}
    assert list(by_job) == ["digits_random-1", "digits_dc-1", "digits_mtt-1"]
    assert [row["trained_on"] for row in by_job.values()] == ["random", "DCDistiller", "MTTDistiller"]
    assert [row["fit_steps"] for row in by_job.values()] == ["", "2", "2"]
    assert [row["fit_attempts"] for row in by_job.values()] == ["", "1", "1"]
    assert float(by_job["digits_dc-1"]["fit_seconds"]) > 0
    for row in by_job.values():
        assert 0 <= float(row["acc"]) <= 1
        for column in ("machine", "torch", "date", "seeds", "seconds", "command"):
            assert row[column], column
    assert "runs/digits_dc-1" in by_job["digits_dc-1"]["command"]
    assert [call[0] for call in runner.calls] == ["evaluate", "fit", "evaluate", "experts", "fit", "evaluate"]
    runner.calls.clear()
    assert runner.main(arguments) == 0
    assert runner.calls == []
    assert "digits_dc-1: done" in capsys.readouterr().out


def test_what_was_killed_between_fit_and_row_is_only_scored(runner, monkeypatch):
    arguments = write(SMALL, configs=["digits_dc"], baselines=[])
    whole = runner.call

    def killed(call, log):
        if call[0] == "evaluate":
            raise KeyboardInterrupt
        whole(call, log)

    monkeypatch.setattr(runner, "call", killed)
    with pytest.raises(KeyboardInterrupt):
        runner.main(arguments)
    monkeypatch.setattr(runner, "call", whole)
    runner.calls.clear()
    assert runner.main(arguments) == 0
    assert [call[0] for call in runner.calls] == ["evaluate"]
    assert len(rows()) == 1


def test_a_fit_that_was_killed_goes_on_from_its_checkpoint(runner, monkeypatch):
    fit = {**SMALL["fit"], "trainer.max_steps": 4, "data.steps_per_epoch": 2, "trainer.limit_val_batches": 1}
    students = {"protocol": "tiny", "students": 1, "architectures": ["convnet_w16"]}
    arguments = write(SMALL, configs=["digits_dc"], baselines=[], fit={**fit, "students": students})
    whole = runner.call

    def half(call, log):
        whole([*call, "--trainer.max_steps=2"], log)
        raise RuntimeError("killed")

    monkeypatch.setattr(runner, "call", half)
    assert runner.main(arguments) == 1
    began = Path("runs/digits_dc-1/checkpoints/last.ckpt").stat().st_mtime - 1000
    killed = {"seconds": 0.0, "attempts": 1, "ended": False, "running_since": began}  # what is left by SIGKILL
    Path("runs/digits_dc-1/fit.json").write_text(json.dumps(killed))
    monkeypatch.setattr(runner, "call", whole)
    runner.calls.clear()
    assert runner.main(arguments) == 0
    assert any(option.startswith("--ckpt_path=") and "last.ckpt" in option for option in runner.calls[0])
    (row,) = rows()
    assert row["fit_attempts"] == "2"
    assert 1000 <= float(row["fit_seconds"]) < 1200
    assert json.loads(Path("runs/digits_dc-1/last/card.json").read_text())["steps"] == 4


def test_a_fit_that_ends_early_with_status_0_gets_no_row(runner, monkeypatch, capsys):
    arguments = write(SMALL, configs=["digits_dc"], baselines=[], fit={**SMALL["fit"], "trainer.max_steps": 4})
    whole = runner.call
    monkeypatch.setattr(runner, "call", lambda call, log: whole([*call, "--trainer.max_steps=2"], log))
    assert runner.main(arguments) == 1
    assert "fit stopped at step 2 of 4; run the grid again to go on" in capsys.readouterr().err
    assert not Path("out.csv").exists()
    monkeypatch.setattr(runner, "call", whole)
    assert runner.main(arguments) == 0
    assert [row["fit_steps"] for row in rows()] == ["4"]


def test_a_job_that_fails_is_named_and_the_others_go_on(runner, capsys):
    rules = [{"match": "digits_dc-1", "fit": {"model.outer_loop": 0}}]
    assert runner.main(write(SMALL, configs=["digits_dc"], rules=rules)) == 1
    assert [row["job"] for row in rows()] == ["digits_random-1"]
    assert "failed: digits_dc-1" in capsys.readouterr().err
    assert json.loads(Path("runs/digits_dc-1/fit.json").read_text()) == pytest.approx(
        {"seconds": 0, "attempts": 1, "ended": False}, abs=60
    )


def test_a_row_of_other_settings_is_never_taken_for_this_one(runner, capsys):
    assert runner.main(write(SMALL, configs=["digits_dc"])) == 0
    before = rows()
    changed = write(SMALL, configs=["digits_dc"], fit={**SMALL["fit"], "model.lr": 0.2})
    assert runner.main(changed) == 1
    assert "digits_dc-1: its row was made with other settings; remove the row" in capsys.readouterr().err
    assert rows() == before


def test_bad_grids_are_refused(runner):
    with pytest.raises(ValueError, match=r"unknown \['config'\]; use any of"):
        runner.main(write(SMALL, config=["digits_dc"]))
    with pytest.raises(ValueError, match="no config 'digits_dcc' in benchmarks/configs"):
        runner.main(write(SMALL, configs=["digits_dcc"]))


@pytest.mark.parametrize("grid", GRIDS, ids=lambda path: path.stem)
def test_shipped_grids_can_be_read(grid, runner):
    jobs, out, _ = runner.read_grid(grid)
    assert len({job.name for job in jobs}) == len(jobs)
    assert out.parent.as_posix() == "benchmarks/results"
    baselines = yaml.safe_load(grid.read_text()).get("baselines", [])
    assert {job.baseline for job in jobs} - {None} == set(baselines) <= {*METHODS, "full", "full_balanced"}
    for job in jobs:
        assert len(job.settings) == 12


def test_rows_in_results_are_those_of_the_grids(runner):
    count = 0
    for grid in GRIDS:
        jobs, out, _ = runner.read_grid(grid)
        by_job = runner.read_rows(ROOT / out)
        for job in jobs:
            if job.name in by_job:
                assert by_job[job.name]["settings"] == job.settings, f"{job.name}: made with other settings"
                count += 1
    if not count:
        pytest.skip("no grid has been run yet")


def test_the_script_runs_as_a_script(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/run.py", ROOT / "benchmarks/grids/medical.yaml", "--list", "--only=*-10"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[1/15] breastmnist_random-10: no row" in done.stdout


def test_a_job_of_another_process_is_left_to_it_and_taken_up_once_it_is_killed(runner, monkeypatch, capsys):
    arguments = write(SMALL, configs=["digits_dc"], ipc=[1])
    code = "import sys, time; from pathlib import Path; from lightning_distill.utils.locks import try_lock;" \
           "lock = try_lock(Path(sys.argv[1])); print(lock is not None, flush=True); time.sleep(300)"  # fmt: skip
    held = ["runs/.digits_random-1.lock", "runs/digits_dc-1/.lock"]  # of a worker, and of the fit of a killed one
    others = [subprocess.Popen([sys.executable, "-c", code, name], stdout=subprocess.PIPE) for name in held]
    assert [other.stdout.readline() for other in others] == [b"True\n"] * 2

    def kill(seconds):
        assert runner.calls == []
        for other in others:
            other.kill()
            other.wait()

    monkeypatch.setattr("lightning_distill.bench.shared_jobs.time.sleep", kill)
    assert runner.main(arguments) == 0
    assert "waiting for 2 jobs of other processes" in capsys.readouterr().out
    assert [row["job"] for row in rows()] == ["digits_random-1", "digits_dc-1"]
