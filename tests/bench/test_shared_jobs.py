"""Independently started processes share jobs: each is done once, and those of a killed process are taken up again."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from lightning_distill.bench import shared_jobs
from lightning_distill.bench.shared_jobs import SharedJobs

CONTEXT = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(shared_jobs, "POLL_SECONDS", 0.05)


def share(folder, jobs) -> SharedJobs:
    return SharedJobs(
        jobs, lock_file=lambda job: folder / f".{job}.lock", is_done=lambda job: (folder / f"{job}.done").exists()
    )


def work(folder, jobs, seconds):
    """Note the beginning and the end of each job, and do it in between."""
    for job in share(folder, jobs).each():
        with (folder / "log").open("a") as file:
            file.write(f"{job}\n")
        time.sleep(seconds)
        (folder / f"{job}.done").touch()


def test_four_workers_do_every_job_once(tmp_path):
    jobs = [str(number) for number in range(24)]
    workers = [CONTEXT.Process(target=work, args=(tmp_path, jobs, 0.02)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert sorted((tmp_path / "log").read_text().split()) == sorted(jobs)


def test_the_job_of_a_killed_worker_is_taken_up_by_a_waiting_one(tmp_path, capsys):
    worker = CONTEXT.Process(target=work, args=(tmp_path, ["a"], 100))
    worker.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    shared = share(tmp_path, ["a", "b"])
    assert shared.take() == "b"
    assert shared.take() is None  # "a" is the other one's
    shared.release("b")
    (tmp_path / "b.done").touch()
    assert shared.left
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert list(share(tmp_path, ["a", "b"]).each()) == ["a"]


def test_a_job_whose_child_still_works_is_left_alone(tmp_path):
    busy = {"a"}
    shared = SharedJobs(
        ["a"], lock_file=lambda job: tmp_path / job, is_done=lambda job: False, is_busy=busy.__contains__
    )
    assert shared.take() is None
    busy.clear()
    assert shared.take() == "a"


def test_jobs_can_be_added_later_and_a_failed_one_is_free_again(tmp_path):
    first, second = share(tmp_path, ["a", "b"]), share(tmp_path, ["a"])
    assert first.remove(lambda job: job == "b") == ["b"]
    assert first.take() == "a"
    first.release("a")  # without a result
    assert not first.left
    assert second.take() == "a"
    first.add(["b"])
    assert list(first.each()) == ["b"]
