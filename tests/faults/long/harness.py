"""Runs in forked children, which can be killed at any write, and the table of what was tried."""

from __future__ import annotations

import datetime
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conftest import blobs

from lightning_distill.utils.csv_rows import read_csv, write_csv
from lightning_distill.utils.hardware import machine_description
from lightning_distill.utils.locks import locked

COLUMNS = ["check", "tried", "wrong", "note", "seconds", "machine", "date", "command"]
COMMAND = "FAULTS_CSV=benchmarks/results/faults.csv pytest -m long -n 2 tests/faults/long"


def record(check: str, tried: int, wrong: int, note: str, began: float) -> None:
    """Write a row to the file that the environment variable FAULTS_CSV names, if it does, in place of an older one."""
    if path := os.environ.get("FAULTS_CSV"):
        row = {
            "check": check, "tried": tried, "wrong": wrong, "note": note, "seconds": round(time.monotonic() - began),
            "machine": machine_description(), "date": datetime.date.today(), "command": COMMAND,
        }  # fmt: skip
        with locked(Path(path)):
            rows = [old for old in read_csv(Path(path)) if old["check"] != check]
            write_csv(Path(path), COLUMNS, sorted([*rows, row], key=lambda each: str(each["check"])))


def in_child(function: Callable[[], object], log: Path, timeout: float = 200) -> int:
    """Return the exit status of a forked process that calls a function, negative for a signal; output goes to a log."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            sys.stdout = sys.stderr = os.fdopen(file, "w", buffering=1)  # in place of pytest's
            signal.alarm(int(timeout))  # ends a hung child
            function()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


class Events:
    """Count what this process does to files below a folder, and kill it before event number ``kill_at``.

    Events are files opened to be written, renames, links, removals, new folders, flushes to disk, and steps.

    Args:
        folder: Folder of the outputs.
        kill_at: Number of the event that does not happen, from 1; 0 kills at none.
        note: File that receives the number of events.
    """

    def __init__(self, folder: Path, kill_at: int, note: Path) -> None:
        self.folder, self.kill_at, self.note, self.count = str(folder), kill_at, note, 0
        flush = os.fsync

        def fsync(file: int) -> None:
            self.happens()
            flush(file)

        os.fsync = fsync
        sys.addaudithook(self._hook)

    def happens(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.link", "os.remove", "os.mkdir"):
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self.folder):
                self.happens()

    def write(self) -> None:
        self.note.write_text(json.dumps(self.count))


def small_data(**options: object):
    """A data module of 24 training images of two classes, validated every two steps."""
    from lightning_distill import ArrayDataModule

    splits = [blobs(2, count, 8, 1, seed) for seed, count in enumerate((12, 6, 6))]
    return ArrayDataModule(*splits, augmentation="dsa", real_per_class=8, batch_size=16, steps_per_epoch=2, **options)


def distil(method: type, folder: Path, experts: Path, steps: int = 4, on_step: Callable[[], object] = int):
    """Distil with students, export and checkpoints below a folder, from ``last.ckpt`` if it is there."""
    from lightning import Callback, Trainer

    from lightning_distill import DistillCheckpoint, StudentEvaluation, SyntheticSetExport

    class Step(Callback):
        def on_train_batch_end(self, *_: object) -> None:
            on_step()

    options: dict[str, object] = {"ipc": 1, "network": "convnet_w16", "init": "real", "formation": 1}
    if "experts" in method.local_path_args:
        options |= {"experts": str(experts), "max_start": 1, "expert_epochs": 1, "syn_steps": 2}
    if method.__name__ == "IDMDistiller":
        options |= {"train_steps": 2, "queue_size": 2, "push_every": 2}
    last = folder / "ckpt" / "last.ckpt"
    trainer = Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, default_root_dir=folder,
        callbacks=[
            StudentEvaluation("tiny", 1, architectures=["convnet_w16"]), Step(),
            SyntheticSetExport(folder / "set", yardsticks=("start",)), DistillCheckpoint(folder / "ckpt"),
        ],
    )  # fmt: skip
    resume = str(last) if last.is_file() else None
    trainer.fit(method(**options), datamodule=small_data(), ckpt_path=resume, weights_only=True)


def outputs(folder: Path) -> dict[str, object]:
    """What a run leaves behind: names of files, the bytes of the sets, and all tensors of the last checkpoint."""
    import torch

    from lightning_distill.sets.storage import mend_set

    for name in ("best", "last"):
        mend_set(folder / "set" / name)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    last = torch.load(folder / "ckpt" / "last.ckpt", weights_only=True)
    tensors = {
        **{name: tensor.numpy().tobytes() for name, tensor in last["state_dict"].items()},
        **{name: tensor.numpy().tobytes() for name, tensor in last["extra_state"].items()},
    }
    names = [f"{name}/{file}" for name in ("best", "last") for file in ("set.safetensors", "card.json")]
    sets = {name: (folder / "set" / name).read_bytes() for name in names}
    return {"files": files, "step": last["global_step"], "tensors": tensors, **sets}


def flipped(data: bytes, random: np.random.Generator) -> bytes:
    """Return a copy with one bit flipped."""
    changed = bytearray(data)
    changed[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
    return bytes(changed)
