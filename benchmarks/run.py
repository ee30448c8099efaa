"""Run a grid: distil with every config at every ipc, score every set and its baselines, one CSV row per job.

    python benchmarks/run.py benchmarks/grids/medical.yaml                        # all jobs without a row
    python benchmarks/run.py benchmarks/grids/medical.yaml --only 'breastmnist_*'
    python benchmarks/run.py benchmarks/grids/medical.yaml --list

Started several times, the same command shares its jobs: each process takes those that no other one has taken, and
takes up again those of a killed one. A job is ``lightning-distill fit`` and then ``lightning-distill evaluate``, each
in its own process. A failed job is named at the end and does not stop the others. A killed job resumes from its last
checkpoint.

The grid file:

    out: benchmarks/results/medical.csv     # one row per job
    folder: runs/medical                    # sets, checkpoints, logs
    configs: [breastmnist_dc]               # names in benchmarks/configs, <data>_<method>
    ipc: [1, 10]
    baselines: [random, full]               # for the configs' data sets, at every ipc (full: once)
    fit: {trainer.max_steps: 100}           # overrides the config; ``students`` is passed to its StudentEvaluation
    evaluate: {protocol: quick, students: 5}
    experts: {count: 3, epochs: 12}         # trained once for each data set of a trajectory method
    rules:                                  # for jobs with a matching name <config>-<ipc>; later rules win
      - {match: "*-10", fit: {trainer.max_steps: 50}}
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from lightning_distill.bench.shared_jobs import SharedJobs
from lightning_distill.sets.storage import read_set
from lightning_distill.utils.csv_rows import read_csv, write_csv
from lightning_distill.utils.locks import LOCK, locked, try_lock

HERE = Path(__file__).parent
RUN = [sys.executable, "-W", "ignore", "-m", "lightning_distill"]
#: Columns in addition to those of ``lightning-distill evaluate --out``.
FIT_COLUMNS = ["job", "settings", "fit_seed", "fit_steps", "fit_seconds", "fit_attempts"]

#: Names in configs and grids -> names in the digests of rows made before the names changed.
DIGEST_NAMES = {
    "lightning_distill.SyntheticImageLogger": "lightning_distill.SyntheticImages",
    "lightning_distill.SyntheticSetExport": "lightning_distill.ExportSyntheticSet",
}
#: Callback of checkpoints in the digests of rows made before `DistillCheckpoint`; it changes no image.
FORMER_CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"
FORMER_OPTIONS = {"monitor": "val/acc", "mode": "max", "save_last": True}


@dataclass
class Job:
    """Job that makes one row: a config at an ipc, or a baseline on the data of a config."""

    name: str
    config: str
    ipc: int
    baseline: str | None
    fit: dict[str, Any] = field(default_factory=dict)
    evaluate: dict[str, Any] = field(default_factory=dict)
    experts: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> dict[str, Any]:
        """Content of the config file in benchmarks/configs."""
        config: dict[str, Any] = yaml.safe_load((HERE / "configs" / f"{self.config}.yaml").read_text())
        return config

    @property
    def settings(self) -> str:
        """Digest of all settings that the row depends on."""
        model = self.model
        options = model["model"]["init_args"]
        experts = self.experts if "experts" in options else {}
        for callback in model["trainer"]["callbacks"]:
            if callback["class_path"] == "lightning_distill.DistillCheckpoint":
                callback |= {"class_path": FORMER_CHECKPOINT, "init_args": callback["init_args"] | FORMER_OPTIONS}
        if options.get("preset") == "paper":  # the only settings when the first rows were made
            del options["preset"]
        trained = [model, self.fit, experts] if self.baseline is None else [model["data"]]
        text = json.dumps([self.ipc, self.baseline, self.evaluate, *trained], sort_keys=True)
        for new, old in DIGEST_NAMES.items():
            text = text.replace(f'"{new}"', f'"{old}"')
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_grid(path: Path) -> tuple[list[Job], Path, Path]:
    """Return the jobs of a grid file, its CSV file, and its working folder.

    Raises:
        ValueError: The file has unknown keys or names a missing config.
    """
    grid = yaml.safe_load(path.read_text())
    known = {"out", "folder", "configs", "ipc", "baselines", "fit", "evaluate", "experts", "rules"}
    if unknown := set(grid) - known:
        raise ValueError(f"{path.name}: unknown {sorted(unknown)}; use any of {', '.join(sorted(known))}")
    if missing := [name for name in grid["configs"] if not (HERE / "configs" / f"{name}.yaml").is_file()]:
        raise ValueError(f"{path.name}: no config {missing[0]!r} in benchmarks/configs")
    jobs: list[Job] = []
    first = {name.rsplit("_", 1)[0]: name for name in reversed(grid["configs"])}  # one config per data set
    for ipc in grid["ipc"]:
        for baseline in grid.get("baselines", []):
            for data, config in reversed(first.items()):
                if baseline != "full" or ipc == grid["ipc"][0]:
                    name = f"{data}_{baseline}" + ("" if baseline == "full" else f"-{ipc}")
                    jobs.append(Job(name, config, ipc, baseline))
        jobs += [Job(f"{config}-{ipc}", config, ipc, None) for config in grid["configs"]]
    for job in jobs:
        rules = [grid, *(rule for rule in grid.get("rules", []) if fnmatch(job.name, rule["match"]))]
        for rule in rules:
            job.fit |= rule.get("fit") or {}
            job.evaluate |= rule.get("evaluate") or {}
            job.experts |= rule.get("experts") or {}
    return jobs, Path(grid["out"]), Path(grid["folder"])


def run(job: Job, folder: Path) -> dict[str, object]:
    """Run the missing parts of a job and return its row."""
    here = folder / job.name
    here.mkdir(parents=True, exist_ok=True)
    row: dict[str, object] = {"job": job.name, "settings": job.settings}
    candidate = ["--ipc", str(job.ipc), "--baselines", f"[{job.baseline}]"]
    if job.baseline is None:
        row |= distil(job, folder)
        candidate = ["--set", str(best(here))]
    data, scored = job.model["data"], here / f"row-{os.getpid()}.csv"
    options = [f"--{key}={value}" for key, value in job.evaluate.items()]
    call(["evaluate", *candidate, *data_options(data), *options, "--out", str(scored)], here / "evaluate.log")
    (scores,) = read_csv(scored)
    scored.unlink()
    return row | scores


def distil(job: Job, folder: Path) -> dict[str, object]:
    """Run ``lightning-distill fit``, from the last checkpoint if there is one."""
    here, config = folder / job.name, job.model
    students = {"random_baseline": False, **job.fit.get("students", {})}
    for callback in config["trainer"]["callbacks"]:
        if callback["class_path"].endswith("StudentEvaluation"):
            callback["init_args"] |= students
    text = yaml.safe_dump(config, sort_keys=False).replace(f"runs/{job.config}", str(here))
    (here / "config.yaml").write_text(text)
    done = here / "fit.json"
    state = json.loads(done.read_text()) if done.is_file() else {"seconds": 0.0, "attempts": 0, "ended": False}
    last = here / "checkpoints" / "last.ckpt"
    if (
        since := state.pop("running_since", None)
    ) is not None and last.is_file():  # a killed attempt counts up to there
        state["seconds"] += max(0.0, last.stat().st_mtime - since)
    overrides = {"model.ipc": job.ipc, **{key: value for key, value in job.fit.items() if key != "students"}}
    if "experts" in config["model"]["init_args"]:
        overrides["model.experts"] = str(make_experts(job, folder))
    if not state["ended"]:
        arguments = ["fit", "--config", str(here / "config.yaml"), "--trainer.enable_progress_bar=false"]
        for key, value in overrides.items():
            section, _, rest = key.partition(".")
            arguments.append(f"--{section}.{'' if section == 'trainer' else 'init_args.'}{rest}={value}")
        arguments += [f"--ckpt_path={last}"] if last.is_file() else []
        state["attempts"] += 1
        done.write_text(json.dumps({**state, "running_since": time.time()}))
        began = time.perf_counter()
        try:
            call(arguments, here / "fit.log")
            state["ended"] = True
        finally:
            state["seconds"] += time.perf_counter() - began
            done.write_text(json.dumps(state))
    wanted = int(overrides.get("trainer.max_steps", config["trainer"]["max_steps"]))
    reached = int(str(read_set(here / "last")[1]["steps"]))
    if reached != wanted:
        done.write_text(json.dumps({**state, "ended": False}))
        raise RuntimeError(f"fit stopped at step {reached} of {wanted}; run the grid again to go on (see {here})")
    card: dict[str, Any] = read_set(best(here))[1]
    return {
        "fit_seed": card["hyper_parameters"]["seed"],
        "fit_steps": card["steps"],
        "fit_seconds": round(state["seconds"], 1),
        "fit_attempts": state["attempts"],
    }


def make_experts(job: Job, folder: Path) -> Path:
    """Train the experts of the job's data, or wait for the process that does. The command keeps existing experts."""
    data = job.model["data"]
    target = folder / "experts" / job.config.rsplit("_", 1)[0]
    target.mkdir(parents=True, exist_ok=True)
    options = [f"--{key}={value}" for key, value in job.experts.items()]
    network = job.fit.get("model.network", job.model["model"]["init_args"].get("network", "convnet"))
    arguments = ["experts", *data_options(data), f"--network={network}", *options, "--out", str(target)]
    with FileLock(folder / f".experts-{target.name}.lock"):
        call(arguments, folder / f"experts-{target.name}.log")
    return target


def best(here: Path) -> Path:
    """Return the folder of the set with the best validation, or of the last set without validation."""
    return here / "best" if (here / "best").is_dir() else here / "last"


def data_options(data: dict[str, Any]) -> list[str]:
    """Return the data of a config as command-line options."""
    init = {key: value for key, value in data.get("init_args", {}).items() if key != "steps_per_epoch"}
    return ["--data", json.dumps({"class_path": data["class_path"], "init_args": init})]


def call(arguments: list[str], log: Path) -> None:
    """Run a command of this package and append its output to a log.

    Raises:
        RuntimeError: The command failed. The message holds the end of the log.
    """
    with log.open("a") as file:
        code = subprocess.run([*RUN, *arguments], stdout=file, stderr=subprocess.STDOUT).returncode
    if code != 0:
        lines = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise RuntimeError(f"{arguments[0]} ended with {code}: {' | '.join(lines)} (see {log})")


def read_rows(out: Path) -> dict[str, dict[str, str]]:
    """Read the rows of a CSV file by job name."""
    return {row["job"]: row for row in read_csv(out)}


def add_row(out: Path, job: str, row: dict[str, object]) -> None:
    """Add the row of a job to the file, the columns of the fit first; rows of other processes are kept."""
    with locked(out):
        rows: dict[str, dict[str, Any]] = {**read_rows(out), job: row}
        columns = dict.fromkeys([*FIT_COLUMNS, *(key for row in rows.values() for key in row)])
        write_csv(out, list(columns), rows.values())


def state_of(job: Job, out: Path) -> str:
    """Return the state of a job: ``no row``, ``done`` or ``other settings``."""
    row = read_rows(out).get(job.name)
    if row is None:
        return "no row"
    return "done" if row["settings"] == job.settings else "other settings"


def has_child(job: Job, folder: Path) -> bool:
    """Return True if the fit of a killed process still works in the folder of a job."""
    lock = try_lock(folder / job.name / LOCK)
    if lock is not None:
        lock.release()
    return lock is None


def main(args: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("grid", type=Path)
    parser.add_argument("--only", default="*", help="pattern of job names, such as 'breastmnist_*'")
    parser.add_argument("--list", action="store_true", help="list the jobs and their state")
    options = parser.parse_args(args)
    jobs, out, folder = read_grid(options.grid)
    jobs = [job for job in jobs if fnmatch(job.name, options.only)]
    failed: list[str] = []
    missing: list[Job] = []
    for number, job in enumerate(jobs, 1):
        state = state_of(job, out)
        print(f"[{number}/{len(jobs)}] {job.name}: {state}", flush=True)
        if state == "other settings" and not options.list:
            failed.append(f"{job.name}: its row was made with other settings; remove the row and {folder / job.name}")
        elif state == "no row" and not options.list:
            missing.append(job)
    shared = SharedJobs(
        missing,
        lock_file=lambda job: folder / f".{job.name}.lock",
        is_done=lambda job: state_of(job, out) != "no row",
        is_busy=lambda job: has_child(job, folder),
    )
    for job in shared.each():
        print(f"{job.name} begins", flush=True)
        began = time.perf_counter()
        try:
            row = run(job, folder)
        except (RuntimeError, OSError, ValueError) as error:
            failed.append(f"{job.name}: {error}")
            continue
        add_row(out, job.name, row)
        print(f"    {100 * float(str(row['acc'])):.1f} % in {time.perf_counter() - began:.0f} s", flush=True)
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
