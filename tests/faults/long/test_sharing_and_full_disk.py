"""Concurrent writers and workers lose nothing, and a full disk at any write leaves whole files."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from faults.long.harness import distil, in_child, outputs, record

from lightning_distill import DMDistiller
from lightning_distill.utils.csv_rows import append_csv, read_csv

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
import quality
from lightning_distill.bench import shared_jobs
shared_jobs.POLL_SECONDS = 0.5
run = quality.Runner.run
def noted(self, job):
    with open(sys.argv[2] + "/log", "a") as file:
        file.write(f"{job}\\n")
    return run(self, job)
quality.Runner.run = noted
quality.main(["--quick", "--only", "*", "--grid", sys.argv[2] + "/shared.yaml", "--out", sys.argv[2]])
"""


@dataclass
class Row:
    """A row."""

    writer: int
    number: int
    name: str


def append(path: Path, writer: int) -> None:
    for number in range(25):
        append_csv(path, [Row(writer, number, "x")])


def test_eight_writers_of_one_csv_lose_no_row(tmp_path):
    began, context = time.monotonic(), multiprocessing.get_context("fork")
    workers = [context.Process(target=append, args=(tmp_path / "rows.csv", writer)) for writer in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    found = sorted((int(row["writer"]), int(row["number"])) for row in read_csv(tmp_path / "rows.csv"))
    wrong = sum(pair not in found for pair in product(range(8), range(25))) + len(found) - len(set(found))
    record("8 writers of 25 rows", 200, wrong, f"{len(found)} rows", began)
    assert wrong == 0


def test_four_workers_on_one_grid_and_one_of_them_killed(tmp_path):
    began = time.monotonic()
    grid = yaml.safe_load((ROOT / "benchmarks/grids/quality.yaml").read_text())
    picks = ("herding", "kmeans", "kcenter", "random")
    grid |= {"methods": {name: {"pick": name} for name in picks}, "labels": ["hard", "soft_natural"]}
    (tmp_path / "shared.yaml").write_text(yaml.safe_dump(grid))
    command = [sys.executable, "-W", "ignore", "-c", WORKER, str(ROOT / "benchmarks"), str(tmp_path)]
    with (tmp_path / "output").open("w") as output:
        workers = [subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output) for _ in range(4)]
        while not (tmp_path / "log").exists():
            assert any(worker.poll() is None for worker in workers), (tmp_path / "output").read_text()
            time.sleep(0.01)
        os.kill(workers[0].pid, signal.SIGKILL)
        status = [worker.wait(1500) for worker in workers]
    rows = [(row["method"], row["labels"], row["split"]) for row in read_csv(tmp_path / "shared.csv")]
    expected = sorted(product(picks, ("hard", "soft_natural"), ("val", "test")))
    wrong = len(set(expected) ^ set(rows)) + len(rows) - len(set(rows)) + (status != [-9, 0, 0, 0])
    done = (tmp_path / "log").read_text().split()
    note = f"rows of {len(picks) * 2} jobs; jobs begun: {len(done)}, one worker killed"
    record("4 workers on one grid", len(expected), wrong, note, began)
    shutil.rmtree(ROOT / "runs" / "quick" / "shared", ignore_errors=True)
    assert wrong == 0, (status, rows)
    assert len(done) <= len(picks) * 2 + 1


def full_at(count: int, folder: Path, note: Path) -> None:
    """Distil; the disk is full from flush number ``count`` on."""
    from lightning_distill.utils import atomic_files

    flush, done = os.fsync, 0

    def fsync(file: int) -> None:
        nonlocal done
        done += 1
        if done >= count > 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    atomic_files.os.fsync = fsync
    distil(DMDistiller, folder, folder)
    note.write_text(str(done))


def test_a_disk_that_is_full_at_any_write_keeps_whole_files_and_the_run_goes_on(tmp_path):
    began, note, log, wrong = time.monotonic(), tmp_path / "note", tmp_path / "log", []
    assert in_child(partial(full_at, 0, tmp_path / "whole", note), log) == 0, log.read_text()[-2000:]
    writes, whole = int(note.read_text()), outputs(tmp_path / "whole")
    for count in range(1, writes + 1):
        folder = tmp_path / "full"
        log.unlink()
        first = in_child(partial(full_at, count, folder, note), log)
        wrong += [f"{count}: status {first}"] if first != 1 or "No space left" not in log.read_text() else []
        second = in_child(partial(full_at, 0, folder, note), log)
        found = outputs(folder) if second == 0 else {}
        wrong += [f"{count}: differs" for name in whole if found.get(name) != whole[name]][:1]
        shutil.rmtree(folder)
    record("full disk, every flush of a fit", writes, len(wrong), "made by an error at the write", began)
    assert not wrong, wrong


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="a file system is mounted")
def test_a_small_disk_that_runs_full_keeps_whole_files_and_the_run_goes_on(tmp_path):
    began, log, wrong, disk, full = time.monotonic(), tmp_path / "log", [], tmp_path / "disk", 0
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], check=False).returncode != 0:
        pytest.skip("mount is not permitted")
    try:
        whole_run = partial(distil, DMDistiller, disk / "run", disk)
        assert in_child(whole_run, log) == 0, log.read_text()[-2000:]
        whole, used = outputs(disk / "run"), sum(path.stat().st_size for path in disk.rglob("*") if path.is_file())
        shutil.rmtree(disk / "run")
        for number in range(20):
            free = 8192 + number * used // 16
            (disk / "ballast").write_bytes(bytes((1 << 20) - 4096 * 8 - free))
            log.unlink()
            first = in_child(whole_run, log)
            full += first == 1
            wrong += (
                [f"{free}: {log.read_text()[-200:]}"] if first == 1 and "No space left" not in log.read_text() else []
            )
            (disk / "ballast").unlink()
            second = in_child(whole_run, log)
            found = outputs(disk / "run") if second == 0 else {}
            wrong += [f"{free}: differs" for name in whole if found.get(name) != whole[name]][:1]
            shutil.rmtree(disk / "run")
    finally:
        subprocess.run(["umount", str(disk)], check=False)
    record("full disk, a small one", 20, len(wrong), f"it ran full in {full} runs", began)
    assert not wrong, wrong
