"""Configurations by name, from a checkout and from a wheel."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import pytest

from lightning_distill.cli import main
from lightning_distill.commands import _configs
from lightning_distill.commands._configs import list_configs, with_config_paths

ROOT = Path(__file__).parents[2]


def test_a_name_is_the_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(ROOT / "benchmarks" / "configs" / "digits_dm.yaml")
    assert with_config_paths(["fit", "--config", "digits_dm", "--config=digits_dm", "-c", "digits_dm"]) == [
        "fit", "--config", path, f"--config={path}", "-c", path,
    ]  # fmt: skip
    assert with_config_paths(["fit", "--config", "mine.yaml", "--out", "digits_dm"])[2:] == [
        "mine.yaml", "--out", "digits_dm",
    ]  # fmt: skip
    (tmp_path / "digits_dm").touch()
    assert with_config_paths(["fit", "--config", "digits_dm"])[2] == "digits_dm"


def test_an_unknown_name_gets_the_closest_ones(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "digits_dn"])
    assert stop.value.code == 2
    message = capsys.readouterr().err.strip()
    assert message.startswith("lightning-distill: --config digits_dn: no such file or configuration; closest: ")
    assert "digits_dm" in message


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling is not installed")
def test_a_wheel_holds_all_configurations_and_sweeps_and_no_data(tmp_path, monkeypatch):
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(tmp_path / "site")
    monkeypatch.setattr(_configs, "FOLDERS", (tmp_path / "site" / "lightning_distill" / "configs",))
    assert list(list_configs()) == sorted(path.stem for path in (ROOT / "benchmarks" / "configs").glob("*.yaml"))
    assert "lightning_distill/sweeps/dm.yaml" in names
    assert "lightning_distill/py.typed" in names
    assert not [name for name in names if name.endswith((".npz", ".ckpt", ".csv", ".png")) or name.startswith("tests")]


@pytest.mark.skipif(importlib.util.find_spec("twine") is None, reason="twine is not installed")
def test_the_index_would_take_wheel_and_sources(tmp_path):
    from hatchling.builders.sdist import SdistBuilder
    from hatchling.builders.wheel import WheelBuilder
    from twine.commands.check import check

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    (sources,) = SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    assert not check([str(wheel), str(sources)], strict=True), "the description does not render, or metadata is missing"
