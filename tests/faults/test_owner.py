"""One run at a time owns a folder: a second process is refused before work, and nothing is left after the first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from lightning_distill import DistillCheckpoint, DMDistiller, SyntheticSetExport
from lightning_distill.cli import main
from lightning_distill.utils.locks import LOCK, FolderInUseError, claim_folder, owned, release_folder, try_lock

HOLD = """
import sys, time
from lightning_distill.utils.locks import claim_folder
claim_folder(sys.argv[1])
print("owned", flush=True)
time.sleep(300)
"""
OPTIONS = {"ipc": 1, "network": "convnet_w16", "init": "real", "formation": 1}
SENTENCE = "belongs to a run that is still going; wait for its end or stop it, or choose another folder"


@pytest.fixture
def other_process():
    """A function that has another process own a folder until the test ends or kills it."""
    processes = []

    def hold(folder):
        process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "owned\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.wait()


def test_a_folder_is_refused_while_its_process_lives_and_free_after_a_kill(tmp_path, other_process):
    process = other_process(tmp_path / "run")
    with pytest.raises(FolderInUseError, match=rf"run {SENTENCE}"):
        claim_folder(tmp_path / "run")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert (tmp_path / "run" / ".lock").is_file()  # stale, and no obstacle
    with owned(tmp_path / "run"):
        pass


def test_claims_of_one_process_add_up(tmp_path):
    os.symlink(tmp_path / "run", tmp_path / "name")
    claim_folder(tmp_path / "run")
    claim_folder(tmp_path / "name")  # the same folder
    release_folder(tmp_path / "run")
    code = f"from lightning_distill.utils.locks import try_lock; from pathlib import Path; " \
           f"print(try_lock(Path({str(tmp_path / 'run' / LOCK)!r})))"  # fmt: skip
    taken = [sys.executable, "-c", code]
    assert subprocess.run(taken, capture_output=True, text=True, check=True).stdout == "None\n"
    release_folder(tmp_path / "name")
    release_folder(tmp_path / "name")  # not owned: nothing to do
    assert subprocess.run(taken, capture_output=True, text=True, check=True).stdout != "None\n"


def test_a_disk_without_locks_is_used_without_one(tmp_path, monkeypatch):
    def acquire(self, timeout):
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("lightning_distill.utils.locks.FileLock.acquire", acquire)
    claim_folder(tmp_path)
    release_folder(tmp_path)


@pytest.mark.parametrize("which", ["ckpt", "set"])
def test_a_second_fit_is_refused_before_work_and_changes_nothing(
    which, make_data, make_trainer, tmp_path, other_process, monkeypatch
):
    other_process(tmp_path / which)
    monkeypatch.setattr(DMDistiller, "init_synthetic", lambda *_: pytest.fail("work began"))
    callbacks = [DistillCheckpoint(tmp_path / "ckpt", monitor=None), SyntheticSetExport(tmp_path / "set")]
    trainer = make_trainer(callbacks=callbacks, enable_checkpointing=True)
    with pytest.raises(FolderInUseError, match=rf"{which} {SENTENCE}"):
        trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data())
    assert os.listdir(tmp_path / which) == [".lock"]
    other = "set" if which == "ckpt" else "ckpt"
    if (tmp_path / other).is_dir():  # the folder that was taken first is free again
        assert try_lock(tmp_path / other / LOCK) is not None


def test_a_fit_releases_its_folders_at_its_end_and_after_an_error(make_data, make_trainer, tmp_path):
    class Failing(DMDistiller):
        def losses(self, real):
            raise RuntimeError("broken")

    for distiller in (Failing(**OPTIONS), DMDistiller(**OPTIONS)):
        callbacks = [DistillCheckpoint(tmp_path, monitor=None), SyntheticSetExport(tmp_path, yardsticks=())]
        trainer = make_trainer(callbacks=callbacks, enable_checkpointing=True, limit_val_batches=0)
        if isinstance(distiller, Failing):
            with pytest.raises(RuntimeError, match="broken"):
                trainer.fit(distiller, datamodule=make_data())
        else:
            trainer.fit(distiller, datamodule=make_data())
        lock = try_lock(tmp_path / LOCK)
        assert lock is not None
        lock.release()


@pytest.mark.parametrize(
    "words", [["distill", "--ipc=1", "--minutes=1"], ["experts", "--count=1", "--epochs=1"]], ids=lambda words: words[0]
)
def test_commands_refuse_a_folder_in_use(words, tmp_path, other_process, capsys):
    other_process(tmp_path / "out")
    with pytest.raises(SystemExit) as stop:
        main([*words, "--data=DigitsDataModule", f"--out={tmp_path / 'out'}"])
    assert stop.value.code == 2
    assert f"out {SENTENCE}" in " ".join(capsys.readouterr().err.split())


DDP = """
import sys, warnings, json
warnings.filterwarnings("ignore")
from lightning import Trainer
from lightning_distill import DistillCheckpoint, DigitsDataModule, DMDistiller, SyntheticSetExport
trainer = Trainer(max_steps=2, accelerator="cpu", devices=2, strategy="ddp", logger=False, limit_val_batches=0,
    enable_progress_bar=False, enable_model_summary=False,
    callbacks=[DistillCheckpoint(sys.argv[1], monitor=None), SyntheticSetExport(sys.argv[1], yardsticks=())])
distiller = DMDistiller(ipc=1, network="convnet_w16", init="real", formation=1)
trainer.fit(distiller, datamodule=DigitsDataModule(real_per_class=8))
"""


def test_ddp_ranks_of_one_run_are_one_owner_and_a_refused_run_ends(tmp_path, other_process):
    (tmp_path / "run.py").write_text(DDP)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads((tmp_path / "run" / "last" / "card.json").read_text())["steps"] == 2
    process, began = other_process(tmp_path / "run"), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode != 0
    assert SENTENCE in done.stderr
    assert process.poll() is None
    assert time.monotonic() - began < 150


def test_last_goes_by_step_and_not_by_the_time_of_the_file(make_data, make_trainer, tmp_path):
    """Copies of a folder have any times: ``last.ckpt`` of step 4 is made older than one of step 2 beside it."""
    for steps, name in ((2, "last-v1.ckpt"), (4, "last.ckpt")):
        trainer = make_trainer(steps, callbacks=[], limit_val_batches=0)
        trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data())
        trainer.save_checkpoint(tmp_path / name)
    os.utime(tmp_path / "last.ckpt", (1, 1))
    for damaged in (False, True):
        if damaged:
            (tmp_path / "last.ckpt").write_bytes(b"PK")
        saver = DistillCheckpoint(tmp_path, monitor=None)
        trainer = make_trainer(5, callbacks=[saver], enable_checkpointing=True, limit_val_batches=0)
        starts = []
        saver.on_train_start = lambda trainer, module, starts=starts: starts.append(trainer.global_step)
        trainer.fit(DMDistiller(**OPTIONS), datamodule=make_data(), ckpt_path="last", weights_only=True)
        assert starts == [2 if damaged else 4]
