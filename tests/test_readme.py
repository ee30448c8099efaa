"""The README is run: every Python block, in order, in one folder; only the size of the runs is made smaller."""

from __future__ import annotations

import re
import runpy

import numpy as np
import pytest
from conftest import ROOT, blobs

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SMALLER = {
    "max_steps=300": "max_steps=2",
    "max_steps=1000": "max_steps=2",
    "max_steps=20)": "max_steps=2)",
    "DMDistiller(ipc=10)": 'DMDistiller(ipc=1, network="convnet_w16")',
    "MomentDistiller(ipc=5,": 'MomentDistiller(ipc=2, network="convnet_w16",',
    "StudentEvaluation()": 'StudentEvaluation("tiny", 2, architectures=["convnet_w16"])',
    'StudentEvaluation(protocol="quick", students=3)': 'StudentEvaluation("tiny", 2, architectures=["convnet_w16"])',
    "set=candidate, students=2": 'protocol="tiny", set=candidate, students=2',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("readme")
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(2, 6, 28, 1, seed)
    np.savez(root / "breastmnist.npz", **arrays)
    return root


def test_python_blocks_run_one_after_the_other(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MEDMNIST_ROOT", str(folder))
    for number, code in enumerate(BLOCKS):  # as readers do: a later one reads what an earlier one wrote
        for large, small in SMALLER.items():
            code = code.replace(large, small)
        path = folder / f"block{number}.py"
        path.write_text(code)
        values = runpy.run_path(str(path))
        if "trainer" in values:
            assert values["trainer"].global_step >= 1, code
        if "x" in values:
            assert abs(float(values["x"].mean())) < 3
            assert values["card"]["method"] == "DMDistiller"
        if "images" in values and "keep" in values:
            assert values["images"].shape == (10, 1, 8, 8)


def test_every_shrinking_is_still_in_the_readme():
    for large in SMALLER:
        assert large in "".join(BLOCKS), large


def test_reading_the_file_takes_four_lines_and_neither_torch_nor_this_package():
    (block,) = [block for block in BLOCKS if "safe_open" in block and "load_set" not in block]
    lines = [line for line in block.strip().splitlines() if not line.startswith(("import", "from"))]
    assert len(lines) <= 4
    assert "torch" not in block
    assert "lightning_distill" not in block


def test_the_ten_line_example_has_ten_lines():
    lines = [line for line in BLOCKS[0].strip().splitlines() if line.strip()]
    assert len(lines) <= 10


def test_tables_are_what_the_csv_says():
    tables = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))
    assert tables["main"](check=True) == 0, "run python benchmarks/tables.py"


def test_readme_commands_are_those_of_ci():
    ci = (ROOT / ".ci" / "run").read_text()
    commands = re.search(r"## Two commands\n\n```bash\n(.*?)```", README, re.DOTALL).group(1).strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        assert command in ci, command


def test_every_option_that_is_shown_exists():
    """Of our own commands, in code blocks and in tables; what ``fit`` takes is tested with the configs."""
    from importlib import import_module

    from lightning_distill.cli import COMMANDS
    from lightning_distill.commands._argv import PYTHON_NAMES
    from lightning_distill.commands._options import command_parameters

    text = README.replace("\\\n", " ")
    shown = re.findall(r"(?:lightning-distill |`)([\w-]+)((?: [^`\n]*)?)(?:`|\n)", text)
    found = 0
    for command, rest in shown:
        if command in COMMANDS:
            name = command.replace("-", "_")
            known = command_parameters(getattr(import_module(f"lightning_distill.commands.{name}"), name))
            for option in re.findall(r"--([\w-]+)", rest):
                assert PYTHON_NAMES.get(option, option.replace("-", "_")) in known, f"{command} has no --{option}"
                found += 1
    assert found > 25
