"""Jobs of `quality.py` and their order, in one process or several, shared with other processes on the same grid."""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lightning_distill.bench.shared_jobs import POLL_SECONDS, SharedJobs

#: Labels of a job that scores the labels that the method learned with its images.
LEARNED = "learned"


@dataclass(frozen=True)
class Job:
    """One set of one method, data set, ipc and distillation seed, with one kind of labels, for one student network.

    Args:
        dataset: Name of the data set in the grid.
        ipc: Images per class.
        method: Name of the method in the grid.
        seed: Seed of the distillation or the pick.
        labels: Kind of labels.
        network: Network of the students; empty for the network of the data set, with which the set is distilled.
    """

    dataset: str
    ipc: int
    method: str
    seed: int
    labels: str
    network: str = ""

    def __str__(self) -> str:
        """Return the name in patterns and lock files: the slash of ``timm/...`` is an underscore."""
        return "-".join([self.set_name, self.labels, *([self.network.replace("/", "_")] if self.network else [])])

    @property
    def set_name(self) -> str:
        """Name of the set, without its labels and students."""
        return "-".join(map(str, (self.dataset, self.ipc, self.method, self.seed)))


def jobs_of(grid: dict[str, Any]) -> Iterator[Job]:
    """Yield the jobs of a grid, the first seed of everything first; all real data once, and with hard labels.

    Methods that learn labels name ``learned`` among their ``labels``; it is no kind for all methods of a grid. Without
    ``student_networks`` the students have the network of the data set.
    """
    kinds = itertools.product(
        grid["seeds"], [*grid["labels"], LEARNED], grid["ipc"], grid.get("student_networks", [""])
    )
    for seed, labels, ipc, network in kinds:
        for dataset, (method, about) in itertools.product(grid["data"], grid["methods"].items()):
            once = (seed, ipc, labels) == (grid["seeds"][0], grid["ipc"][0], "hard")
            wanted = ipc in about.get("ipc", grid["ipc"]) and dataset in about.get("only", grid["data"])
            wanted = wanted and dataset not in about.get("skip", []) and labels in about.get("labels", grid["labels"])
            if wanted and seed < about.get("seeds", 1000) and (about.get("pick") != "full" or once):
                yield Job(dataset, ipc, method, seed, labels, network)


class Runs(Protocol):
    """Runner of jobs, see `quality.Runner`."""

    @property
    def place(self) -> Path:
        """Folder of sets and teachers."""

    def run(self, job: Job) -> list[dict[str, object]]:
        """Return the rows of a job."""

    def teachers(self, dataset: str) -> object:
        """Make the teachers of a data set."""


def run_all(
    runner: Runs, jobs: list[Job], processes: int, is_done: Callable[[Job], bool]
) -> Iterator[tuple[Job, list[dict[str, object]]]]:
    """Yield the rows of the jobs that this process takes, as they are done; they are saved before the next request.

    With several processes, the soft labels of a data set wait for its teachers, and a job that fails is printed and
    left without rows.
    """
    shared = SharedJobs(jobs, lock_file=lambda job: runner.place / f".{job}.lock", is_done=is_done)
    if processes == 1:
        yield from ((job, runner.run(job)) for job in shared.each())
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from run_in_pool(runner, shared, pool, processes)


def run_in_pool(
    runner: Runs, shared: SharedJobs[Job], pool: ProcessPoolExecutor, processes: int
) -> Iterator[tuple[Job, list[dict[str, object]]]]:
    """Yield the rows of jobs that the processes of a pool run; see `run_all`."""
    soft: dict[str, list[Job]] = {}
    for job in shared.remove(lambda job: job.labels not in ("hard", LEARNED)):
        soft.setdefault(job.dataset, []).append(job)
    pending: dict[Future[Any], Job | str] = {pool.submit(runner.teachers, name): name for name in soft}
    while pending or shared.left:
        while len(pending) < processes and (taken := shared.take()) is not None:
            pending[pool.submit(runner.run, taken)] = taken
        for future in wait(pending, POLL_SECONDS, FIRST_COMPLETED).done:
            ended = pending.pop(future)
            if error := future.exception():
                print(f"{ended}: {type(error).__name__}: {error}", flush=True)
            elif isinstance(ended, str):
                shared.add(soft[ended])
            else:
                yield ended, future.result()
            if isinstance(ended, Job):
                shared.release(ended)
        if not pending:
            time.sleep(POLL_SECONDS if shared.left else 0)
