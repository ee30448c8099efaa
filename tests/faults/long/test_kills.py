"""SIGKILL at 20 points of a run of every method, on two disks: the resumed run leaves the files of a whole one."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from faults.long.harness import Events, distil, in_child, outputs, record, small_data

from lightning_distill import DCDistiller, DMDistiller, DSADistiller, IDMDistiller, KRRDistiller, MTTDistiller
from lightning_distill.distillers.mtt.train_experts import train_experts

pytestmark = [pytest.mark.long, pytest.mark.timeout(3000)]
METHODS = [DMDistiller, IDMDistiller, DCDistiller, DSADistiller, KRRDistiller, MTTDistiller]
#: The disk of the temporary folder, and another one, where files are not renamed from the former.
DISKS = {"temporary folder": None, "memory": "/dev/shm"}
POINTS = int(os.environ.get("FAULTS_POINTS", "20"))


def run(method: type, folder: Path, experts: Path, kill_at: int, note: Path) -> None:
    events = Events(folder, kill_at, note)
    distil(method, folder, experts, on_step=events.happens)
    events.write()


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__name__)
def test_a_run_killed_anywhere_ends_as_a_whole_one(method, disk):
    if DISKS[disk] and not os.access(DISKS[disk], os.W_OK):
        pytest.skip(f"no {DISKS[disk]}")
    began = time.monotonic()
    place = Path(tempfile.mkdtemp(dir=DISKS[disk]))
    log, note, experts = place / "log", place / "events", place / "experts"
    try:
        if method.local_path_args:
            make = partial(train_experts, small_data(), experts, count=1, epochs=3, network="convnet_w16",
                           accelerator="cpu", compile="off")  # fmt: skip
            assert in_child(make, log) == 0, log.read_text()[-2000:]
        assert in_child(partial(run, method, place / "whole", experts, 0, note), log) == 0, log.read_text()[-2000:]
        total, whole = json.loads(note.read_text()), outputs(place / "whole")
        points = sorted({int(point) for point in np.linspace(1, total, POINTS)})
        wrong = []
        for point in points:
            folder = place / "killed"
            assert in_child(partial(run, method, folder, experts, point, note), log) == -9
            if in_child(partial(run, method, folder, experts, 0, note), log) != 0:
                wrong.append(f"{point}: {log.read_text()[-300:]}")
            else:
                found = outputs(folder)
                differ = [name for name in whole if whole[name] != found[name]]
                wrong += [f"{point}: {differ}"] if differ else []
            shutil.rmtree(folder)
        note_text = f"of {total} events of a run of 4 steps"
        record(f"kills, {method.__name__}, {disk}", len(points), len(wrong), note_text, began)
        assert not wrong, wrong
    finally:
        shutil.rmtree(place)
