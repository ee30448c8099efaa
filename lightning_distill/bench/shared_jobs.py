"""Jobs that several independently started processes share: each job is done by one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

from filelock import BaseFileLock

from lightning_distill.utils.locks import try_lock

T = TypeVar("T")
#: Seconds between two looks at jobs that other processes have.
POLL_SECONDS = 5.0


class SharedJobs(Generic[T]):
    """Jobs of which this process takes those that no other process has taken.

    A job is taken by the lock of a file, which ends with its process: the job of a killed process is taken up again.
    A job that failed in another process is free again, too. This process then tries it once.

    Args:
        jobs: Jobs, the first ones first.
        lock_file: Function that returns the lock file of a job.
        is_done: Function that returns True for a job with a result. It sees results of other processes.
        is_busy: Function that returns True for a job that a child of a killed process still works on.

    Example:
        >>> import tempfile
        >>> folder, done = Path(tempfile.mkdtemp()), []
        >>> shared = SharedJobs(["a", "b"], lock_file=lambda job: folder / job, is_done=done.__contains__)
        >>> for job in shared.each():
        ...     done.append(job)
        >>> done
        ['a', 'b']
    """

    def __init__(
        self,
        jobs: Iterable[T],
        *,
        lock_file: Callable[[T], Path],
        is_done: Callable[[T], bool],
        is_busy: Callable[[T], bool] = lambda job: False,
    ) -> None:
        self._waiting = list(jobs)
        self._lock_file, self._is_done, self._is_busy = lock_file, is_done, is_busy
        self._locks: dict[Path, BaseFileLock] = {}

    @property
    def left(self) -> bool:
        """Whether there are jobs that this process has neither taken nor seen done."""
        return bool(self._waiting)

    def add(self, jobs: Iterable[T]) -> None:
        """Add jobs at the end."""
        self._waiting += jobs

    def remove(self, chosen: Callable[[T], bool]) -> list[T]:
        """Remove jobs that were not taken and return them, e.g. to add them later."""
        removed = [job for job in self._waiting if chosen(job)]
        self._waiting = [job for job in self._waiting if not chosen(job)]
        return removed

    def take(self) -> T | None:
        """Return the first job that is free, or ``None`` where other processes have all that are left.

        The caller saves the result and then calls `release`.
        """
        for job in list(self._waiting):
            path = self._lock_file(job)
            lock = None if self._is_done(job) else try_lock(path)
            if lock is not None and (self._is_done(job) or self._is_busy(job)):  # it ended before it was locked
                lock.release()
                lock = None
            if lock is not None:
                self._waiting.remove(job)
                self._locks[path] = lock
                return job
            if self._is_done(job):
                self._waiting.remove(job)
        return None

    def release(self, job: T) -> None:
        """Release a job that was taken."""
        self._locks.pop(self._lock_file(job)).release()

    def each(self) -> Iterator[T]:
        """Yield the jobs that this process takes, until all are done; wait for those of other processes.

        The result of a job is saved before the next job is requested.
        """
        told = False
        while self.left:
            job = self.take()
            if job is not None:
                try:
                    yield job
                finally:
                    self.release(job)
            elif self.left:
                if not told:
                    print(f"waiting for {len(self._waiting)} jobs of other processes", flush=True)
                told = True
                time.sleep(POLL_SECONDS)
