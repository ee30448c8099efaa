"""W&B for real, offline: runs are started, and what they logged is read back from their files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

wandb = pytest.importorskip("wandb")
SMALL = [
    "--model.init_args.ipc=1", "--model.init_args.network=convnet_w16", "--trainer.max_steps=2",
    "--data.init_args.real_per_class=8", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu",
    "--trainer.log_every_n_steps=1",
]  # fmt: skip


def records(folder: Path) -> list:
    """Everything an offline run wrote: a file header of 7 bytes, then log records in blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, position, items, parts = path.read_bytes(), 7, [], b""
    assert content[:4] == b":W&B"
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:
            position += 32768 - position % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            items.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return items


def logged(items: list) -> dict[str, object]:
    """The last value of every logged key."""
    values: dict[str, object] = {}
    for record in items:
        for item in record.history.item:
            values[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return values


def expand(path: Path) -> list[list[str]]:
    """The commands an agent would run for a grid sweep, built by wandb's own functions."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(path.read_text())
    assert sweep["method"] == "grid"
    names = list(sweep["parameters"])
    commands = []
    for values in product(*(sweep["parameters"][name]["values"] for name in names)):
        arguments = create_sweep_command_args({"args": {n: {"value": v} for n, v in zip(names, values, strict=True)}})
        parts: list[str] = []
        for part in create_sweep_command(sweep["command"]):
            parts += arguments["args"] if part == "${args}" else [part]
        commands.append(parts)
    return commands


def test_sweep_file_expands_to_runs_that_log_what_it_optimises(tmp_path):
    sweep = yaml.safe_load((ROOT / "benchmarks/sweeps/dm.yaml").read_text())
    commands = expand(ROOT / "benchmarks/sweeps/dm.yaml")
    assert len(commands) == 3 * 3 * 3
    assert len({tuple(command) for command in commands}) == 27
    for number, command in enumerate((commands[0], commands[-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert command[0] == "lightning-distill"
        command = [str(ROOT / c) if c.startswith("benchmarks/") else c for c in command[1:]]
        small = [*SMALL, f"--trainer.callbacks={json.dumps(small_callbacks(folder))}", "--trainer.logger.offline=true"]
        done = subprocess.run(
            [sys.executable, "-m", "lightning_distill", *command, *small, f"--trainer.logger.save_dir={folder}"],
            cwd=folder, capture_output=True, text=True, timeout=200, env={**os.environ, "WANDB_MODE": "offline"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        items = records(folder)
        values = logged(items)
        assert 0 <= values[sweep["metric"]["name"]] <= 1
        assert {"distill/loss", "val/acc_std", "val/auroc", "val/balanced_acc", "val/acc_gain_over_random"} <= set(
            values
        )
        config = {u.key: json.loads(u.value_json) for record in items for u in record.config.update}
        expected = dict(
            argument.removeprefix("--").split("=") for argument in command if argument.startswith("--model")
        )
        assert config["lr"] == float(expected["model.init_args.lr"])
        assert config["init"] == expected["model.init_args.init"]
        assert config["seed"] == int(expected["model.init_args.seed"])
        assert config["dataset"] == "digits"
        assert values["synthetic/images/count"] == 1
        for figure in ("confusion", "reliability", "recall"):
            assert values[f"val/{figure}/count"] == 1
        assert {"val/macro_f1", "val/ece", "val/brier", "val/nll", "val/worst_recall"} <= set(values)
        artifacts = [record.artifact for record in items if record.HasField("artifact")]
        assert [artifact.name for artifact in artifacts] == ["distilled-digits"]
        assert {item.path for item in artifacts[0].manifest.contents} == {"card.json", "grid.png", "set.safetensors"}


def small_callbacks(folder: Path) -> list[dict[str, object]]:
    ours = "lightning_distill."
    return [
        {
            "class_path": ours + "StudentEvaluation",
            "init_args": {"protocol": "tiny", "students": 2, "architectures": ["convnet_w16"]},
        },
        {"class_path": ours + "SyntheticImageLogger"},
        {"class_path": ours + "SyntheticSetExport", "init_args": {"dirpath": str(folder / "set")}},
    ]
