"""Python blocks of all README files run, their commands and links exist, and their tables match the CSV files."""

from __future__ import annotations

import inspect
import re
import runpy
import shlex
import typing
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import ROOT, blobs

from lightning_distill import load_set, save_set
from lightning_distill.commands._configs import list_configs
from lightning_distill.commands._options import command_parameters
from lightning_distill.sets.card import make_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

TOP = ROOT / "README.md"
FILES = [
    TOP,
    *sorted(path for folder in ("benchmarks", "lightning_distill") for path in (ROOT / folder).rglob("README.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text() for path in FILES}
BLOCKS = {name: re.findall(r"```python\n(.*?)```", text, re.DOTALL) for name, text in TEXTS.items()}
#: Settings of the examples -> small settings for the test. Patterns are applied in this order.
SMALLER = {
    r"max_steps=\d+": "max_steps=2",
    r'"(?:quick|reference)"': '"tiny"',
    r"draws=\d+": "draws=2",
    r"students=\d+": "students=2",
    r"StudentEvaluation\(\)": 'StudentEvaluation(protocol="tiny", students=2, architectures=["convnet_w16"])',
    r"synthetic_set=candidate": 'protocol="tiny", synthetic_set=candidate',
    r"(D[MCS]A?Distiller)\(ipc=\d+(?![^)\n]*network)": r'\1(ipc=1, network="convnet_w16"',
    r"MomentDistiller\(ipc=\d+": 'MomentDistiller(ipc=2, network="convnet_w16"',
    r"MTTDistiller\(ipc=\d+": "MTTDistiller(ipc=1",
    r"FlowGenerator\(widths=[^)]*": "FlowGenerator(widths=[16], sampling_steps=2",
}
LINK = re.compile(r"\]\(([^)\s]+)\)")
REPOSITORY = "https://github.com/lightning-distill/lightning-distill/blob/main/"
RAW = "https://raw.githubusercontent.com/lightning-distill/lightning-distill/main/"


def smaller(code: str) -> str:
    for large, small in SMALLER.items():
        code = re.sub(large, small, code)
    return code


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a tiny BreastMNIST file and a received set."""
    arrays = {}
    for seed, split in enumerate(("train", "val", "test")):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = blobs(2, 6, 28, 1, seed)
    np.savez(tmp_path / "breastmnist.npz", **arrays)
    spec = DataSpec("toy", (1, 8, 8), ("a", "b"), (100.0,), (50.0,))
    save_set(tmp_path / "received", LabeledSet(torch.zeros(2, 1, 8, 8).byte(), torch.tensor([0, 1]), spec), {})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDMNIST_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", [name for name, blocks in BLOCKS.items() if blocks])
def test_python_blocks_run_one_after_the_other(name, folder, capsys):
    for number, code in enumerate(BLOCKS[name]):  # a later block may read files of an earlier one
        path = folder / f"block{number}.py"
        path.write_text(smaller(code))
        values = runpy.run_path(str(path))
        trainer = values.get("trainer")
        assert trainer is None or trainer.global_step >= 1, code
        if "card" in values and "x" in values:
            assert abs(float(values["x"].mean())) < 3
            assert values["card"]["method"] == "DMDistiller"
        if "checkpoint" in values and "images" in values:
            assert values["images"].shape == (10, 1, 8, 8)


def test_examples_are_made_small():
    code = "\n".join(block for blocks in BLOCKS.values() for block in blocks)
    for large in SMALLER:
        assert re.search(large, code) or "reference" in large or "MTT" in large, large


def test_reading_the_file_needs_numpy_alone_and_gives_the_images_of_load_set(folder):
    (block,) = [block for block in BLOCKS["README.md"] if "safe_open" in block]
    lines = [line for line in block.strip().splitlines() if line and not line.startswith(("import", "from"))]
    assert len(lines[: [line.startswith("f = ") for line in lines].index(True)]) <= 3, "reading without sub-images"
    assert "torch" not in block
    assert "lightning_distill" not in block
    for formation, shape in ((1, (3, 9, 10)), (2, (3, 9, 10)), (3, (1, 13, 12))):
        spec = DataSpec("odd", shape, ("a", "b"), (0.4,) * shape[0], (0.2,) * shape[0])
        pixels = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
        stored = LabeledSet(pixels, torch.tensor([0, 0, 1, 1]), spec, formation=formation)
        save_set("runs/digits/best", stored, make_card("DMDistiller", {}, {}, "herding", 1))
        code = folder / "read.py"
        code.write_text(block)
        read = runpy.run_path(str(code))
        images, labels = load_set("runs/digits/best").tensors
        assert len(images) == 4 * formation**2
        np.testing.assert_allclose(read["x"], images.numpy(), rtol=1e-5, atol=1e-5)
        assert (read["labels"] == labels.numpy()).all()


def test_the_first_page_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 250
    lines = [line for line in BLOCKS["README.md"][0].strip().splitlines() if line.strip()]
    assert len(lines) <= 10


def test_links_work_on_a_package_index_and_point_to_files():
    for name, text in TEXTS.items():
        for link in LINK.findall(re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
            if link.startswith(("#", "http")):
                local = next((link.removeprefix(root) for root in (REPOSITORY, RAW) if link.startswith(root)), None)
                assert local is None or (ROOT / local).exists(), f"{name}: {link}"
            else:
                assert name != "README.md", f"{link} is relative: it does not work on a package index"
                assert ((ROOT / name).parent / link.split("#")[0]).exists(), f"{name}: {link}"


def test_tables_are_those_of_the_csv_files():
    tables = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))
    assert tables["main"](check=True) == 0, "run python benchmarks/tables.py"


def test_an_outdated_table_is_named_with_its_file(tmp_path, capsys):
    tables = runpy.run_path(str(ROOT / "benchmarks" / "tables.py"))
    main = tables["main"]
    for file in {file for file, _ in tables["TABLES"].values()}:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(TEXTS[file])
    main.__globals__["ROOT"] = tmp_path
    assert main(check=True) == 0
    results = tmp_path / "benchmarks/results/README.md"
    results.write_text(TEXTS["benchmarks/results/README.md"].replace("| mnist (official files) | 1 |", "| mnist | 1 |"))
    assert main(check=True) == 1
    assert "benchmarks/results/README.md: tables differ" in capsys.readouterr().err
    assert main(check=False) == 0
    assert results.read_text() == TEXTS["benchmarks/results/README.md"]


def test_the_first_two_commands_are_those_of_ci():
    ci = (ROOT / ".ci" / "run").read_text()
    commands = re.search(r"```bash\n(.*?)```", TEXTS["README.md"], re.DOTALL).group(1).strip().splitlines()
    assert len(commands) == 2
    for command in commands:
        assert command in ci, command


def options_of(command: str) -> set[str]:
    """Names of a command's arguments, those of typed keyword options too."""
    function = getattr(import_module(f"lightning_distill.commands.{command}"), command)
    names = set()
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            names.add(parameter.name)
        elif options := typing.get_args(typing.get_type_hints(function)[parameter.name]):
            names |= set(options[0].__annotations__)
        else:  # passed on to a function of the library
            names |= set(command_parameters(function))
    return names | ({"set"} if names & {"synthetic_set", "sets"} else set())


def test_every_option_that_is_shown_exists():
    """Check our own commands in code blocks and in tables; arguments of ``fit`` are tested with the configs."""
    from lightning_distill.cli import COMMANDS

    count = 0
    for file, text in TEXTS.items():
        shown = re.findall(r"(?:lightning-distill |`)([\w-]+)((?: [^`\n]*)?)(?:`|\n)", text.replace("\\\n", " "))
        for first, rest in shown:
            joined = "-".join([first, *rest.split()[:1]])  # a command of two words
            command = joined if joined in COMMANDS else first
            if command in COMMANDS:
                known = options_of(command.replace("-", "_"))
                for option in re.findall(r"--([\w-]+)", rest):
                    assert option.replace("-", "_") in known, f"{file}: {command} has no --{option}"
                    count += 1
    assert count >= 10


def test_every_config_that_is_shown_exists():
    for file, text in TEXTS.items():
        for line in re.findall(r"lightning-distill fit [^`\n]*", text.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            for flag, value in pairwise(words):
                known = value.endswith("NAME.yaml") or (ROOT / value).is_file() or value in list_configs()
                assert flag != "--config" or known, f"{file}: {value}"
