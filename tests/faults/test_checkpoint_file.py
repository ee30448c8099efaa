"""Checkpoint files: atomic on their own disk, damaged ones refused, the next intact one taken."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch

from lightning_distill.checkpoints.verified_io import VerifiedCheckpointIO
from lightning_distill.utils.atomic_files import temporary_beside, write_files_atomically
from lightning_distill.utils.checkpoint_file import DamagedCheckpointError, verify, with_digest


def content(step: int) -> dict:
    return {"global_step": step, "state_dict": {"images": torch.arange(60.0) + step}, "hyper_parameters": {"seed": 3}}


def saved(checkpoint: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def test_file_is_an_archive_that_other_tools_read(tmp_path):
    VerifiedCheckpointIO().save_checkpoint(content(5), tmp_path / "deep" / "a.ckpt")
    path = tmp_path / "deep" / "a.ckpt"
    assert torch.load(path, weights_only=True)["global_step"] == 5
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.comment.startswith(b"lightning_distill sha256=")
    assert os.listdir(path.parent) == ["a.ckpt"]


def test_no_flipped_bit_is_believed():
    data, random = with_digest(saved(content(5))), np.random.default_rng(0)
    verify(data, "a.ckpt")
    places = [*random.integers(0, len(data), 250).tolist(), *range(len(data) - 120, len(data))]  # and all of the end
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        with pytest.raises(DamagedCheckpointError, match=r"checkpoint a\.ckpt is damaged: .*; resume from another one"):
            verify(bytes(damaged), "a.ckpt")
    for length in random.integers(0, len(data), 50):
        with pytest.raises(DamagedCheckpointError):
            verify(data[:length], "a.ckpt")


def test_checkpoint_of_lightning_is_verified_by_its_checksums():
    data, random = saved(content(5)), np.random.default_rng(0)
    verify(data, "a.ckpt")
    start = data.index(torch.arange(60.0).add(5).numpy().tobytes())
    for place in random.integers(start, start + 240, 40):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(random.integers(8))
        with pytest.raises(DamagedCheckpointError, match=r"checksum of .* differs"):
            verify(bytes(damaged), "a.ckpt")


def test_newest_intact_checkpoint_of_the_folder_is_taken_and_named(tmp_path):
    writer = VerifiedCheckpointIO()
    for name, step in (("last", 9), ("previous", 7), ("epoch=0-step=3", 3)):
        writer.save_checkpoint(content(step), tmp_path / f"{name}.ckpt")
    data = bytearray((tmp_path / "last.ckpt").read_bytes())
    data[300] ^= 4
    (tmp_path / "last.ckpt").write_bytes(data)
    with pytest.raises(DamagedCheckpointError):
        writer.load_checkpoint(tmp_path / "last.ckpt")
    reader = VerifiedCheckpointIO(fall_back=True)
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged.*goes on from previous\.ckpt, step 7"):
        assert reader.load_checkpoint(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 7
    (tmp_path / "previous.ckpt").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"goes on from epoch=0-step=3\.ckpt, step 3"):
        assert reader.load_checkpoint(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3
    (tmp_path / "epoch=0-step=3.ckpt").unlink()
    with pytest.raises(DamagedCheckpointError, match=r"last\.ckpt"):
        reader.load_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint 'gone\.ckpt'"):
        reader.load_checkpoint(tmp_path / "gone.ckpt")


WRITE = """
import os, sys
from pathlib import Path
from lightning_distill.utils import atomic_files
rename, count = os.replace, int(sys.argv[2])
def replace(source, target):
    global count
    if count == 0:
        os.kill(os.getpid(), 9)
    count -= 1
    rename(source, target)
atomic_files.os.replace = replace
folder = Path(sys.argv[1])
atomic_files.write_files_atomically({folder / "a": b"new" * 9999, folder / "b": b"new" * 9999})
"""


@pytest.mark.parametrize("renames", [0, 1])
def test_kill_within_a_write_keeps_whole_files_and_the_next_write_removes_its_temporaries(tmp_path, renames):
    for name in "ab":
        (tmp_path / name).write_bytes(b"old")
    done = subprocess.run([sys.executable, "-c", WRITE, str(tmp_path), str(renames)], check=False)
    assert done.returncode == -9
    assert len(os.listdir(tmp_path)) == 4 - renames
    assert (tmp_path / "b").read_bytes() == b"old"
    assert (tmp_path / "a").read_bytes() == (b"old" if renames == 0 else b"new" * 9999)
    live = temporary_beside(tmp_path / "a")  # of this process: a write that is under way
    live.write_bytes(b"")
    write_files_atomically({tmp_path / "a": b"newer", tmp_path / "b": b"newer"})
    assert sorted(os.listdir(tmp_path)) == sorted(["a", "b", live.name])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == b"newer"


def test_full_disk_keeps_the_older_file(tmp_path, monkeypatch):
    writer = VerifiedCheckpointIO()
    writer.save_checkpoint(content(1), tmp_path / "last.ckpt")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lightning_distill.utils.atomic_files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        writer.save_checkpoint(content(2), tmp_path / "last.ckpt")
    assert os.listdir(tmp_path) == ["last.ckpt"]
    assert writer.load_checkpoint(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 1
