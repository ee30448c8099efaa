"""Old names in Python, in YAML and on the command line: the error names the new one."""

from __future__ import annotations

import ast
import inspect
import re
from importlib import import_module
from importlib.util import find_spec

import pytest
import yaml
from conftest import ROOT

import lightning_distill
from lightning_distill import _renamed
from lightning_distill.cli import main

CALLS = {
    "DMDistiller": {"start": "real"},
    "DCDistiller": {"inner": 1},
    "MTTDistiller": {"syn_batch": 1},
    "StudentEvaluation": {"set": "a"},
    "evaluate": {"set": "a"},
}


@pytest.mark.parametrize("owner", CALLS)
def test_an_old_argument_names_the_new_one(owner):
    (old,) = CALLS[owner]
    with pytest.raises(TypeError, match=rf"^{owner}.*has no argument '{old}'; it was renamed to '\w+'$"):
        getattr(lightning_distill, owner)(**CALLS[owner])


def test_an_unknown_argument_and_an_old_name_elsewhere_have_no_hint():
    for options in ({"nothing": 1}, {"start": 1}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            lightning_distill.StudentEvaluation(**options)


def test_a_subclass_may_use_an_old_name_of_its_own():
    class Method(lightning_distill.DMDistiller):
        def __init__(self, start: int = 0, ipc: int = 1) -> None:
            super().__init__(ipc=ipc)

    assert Method(start=3).hparams["ipc"] == 1


def test_signatures_are_those_of_the_constructors():
    for name in ("DMDistiller", "DigitsDataModule", "StudentEvaluation", "SyntheticSetExport"):
        kinds = {p.kind for p in inspect.signature(getattr(lightning_distill, name)).parameters.values()}
        assert inspect.Parameter.VAR_POSITIONAL not in kinds, name


def test_every_moved_module_names_a_module_that_exists():
    for old, new in _renamed.MODULES.items():
        assert find_spec(f"lightning_distill.{new}") is not None, new
        with pytest.raises(ModuleNotFoundError, match="it moved to 'lightning_distill"):
            import_module(f"lightning_distill.{old}")
    with pytest.raises(ModuleNotFoundError, match=r"lightning_distill\.nothing'$"):
        import_module("lightning_distill.nothing")


def test_every_renamed_class_exists():
    for old, new in _renamed.ATTRIBUTES.items():
        assert hasattr(lightning_distill, new)
        with pytest.raises(AttributeError, match=f"'{old}'; it was renamed to '{new}'"):
            getattr(lightning_distill, old)


def changelog_tables():
    """Pairs of old and new names by the first cell of their row, for each of the three tables."""
    text = re.search("<!-- renamed -->(.*)<!-- /renamed -->", (ROOT / "CHANGELOG.md").read_text(), re.DOTALL)[1]
    tables = []
    for table in text.strip().split("\n\n"):
        rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
        tables.append({first.strip("`"): re.findall(r"`([^`]+)` → `([^`]+)`", names) for first, names in rows})
    return tables


def test_the_changelog_lists_every_renamed_name():
    names, _, modules = changelog_tables()
    listed = {(old, new) for pairs in names.values() for old, new in pairs}
    for table in (_renamed.ATTRIBUTES, _renamed.ARGUMENTS, _renamed.COLUMNS, _renamed.LOG_KEYS):
        assert table.items() <= listed
    for table in _renamed.CELLS.values():
        assert table.items() <= listed
    assert {old for pairs in modules.values() for old, _ in pairs} >= _renamed.MODULES.keys()


def test_every_new_name_of_the_changelog_exists():
    _, names, modules = changelog_tables()
    package, present = ROOT / "lightning_distill", set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            present |= {name for key in ("name", "arg", "id", "attr") if isinstance(name := getattr(node, key, 0), str)}
    for module, pairs in names.items():
        assert find_spec(f"lightning_distill.{module}") is not None, module
        assert not [new for _, new in pairs if new.rstrip("=").rpartition(".")[2] not in present], module
    for _, new in (pair for pairs in modules.values() for pair in pairs):
        assert (package.parent / new).exists() or find_spec(f"lightning_distill.{new}") is not None, new


FIT = {"model": {"class_path": "DMDistiller"}, "data": {"class_path": "DigitsDataModule"}}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model": {"class_path": "DMDistiller", "init_args": {"start": "real"}}},
         "DMDistiller has no option --model.start; it was renamed to 'init'"),
        ({"trainer": {"callbacks": [{"class_path": "lightning_distill.ExportSyntheticSet"}]}},
         "no attribute 'ExportSyntheticSet'; it was renamed to 'SyntheticSetExport'"),
        ({"trainer": {"callbacks": [{"class_path": "SyntheticImages"}]}},
         "there is no class 'SyntheticImages'; it was renamed to 'SyntheticImageLogger'"),
        ({"trainer": {"callbacks": [{"class_path": "StudentEvaluation", "init_args": {"set": "a"}}]}},
         "no option --trainer.callbacks.set; it was renamed to 'synthetic_set'"),
        ({"data": {"class_path": "lightning_distill.data.idx.MNISTDataModule"}},
         "no attribute 'idx'; it moved to 'lightning_distill.data.mnist'"),
    ],
)  # fmt: skip
def test_an_old_name_in_yaml_names_the_new_one(config, message, tmp_path, capsys):
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(FIT | config))
    assert message in refused(["fit", f"--config={tmp_path / 'old.yaml'}"], capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--model=DSADistiller", "--model.outer=3", "--data=DigitsDataModule"],
         "DSADistiller has no option --model.outer; it was renamed to 'outer_loop'"),
        (["fit", "--model=DMDistiller", "--model.set=3"], "`lightning-distill fit --model.help DMDistiller` lists"),
    ],
)  # fmt: skip
def test_an_old_name_on_the_command_line_names_the_new_one(arguments, message, capsys):
    assert message in refused(arguments, capsys)


def test_the_shell_keeps_set_and_yaml_names_its_successor(tmp_path, capsys):
    (tmp_path / "old.yaml").write_text("set: a\ndata: DigitsDataModule\n")
    message = refused(["evaluate", f"--config={tmp_path / 'old.yaml'}"], capsys)
    assert "'set' is not accepted; it was renamed to 'synthetic_set'" in message
    assert "no set file" in refused(["evaluate", "--set=nowhere", "--data=DigitsDataModule"], capsys)


def refused(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as done:
        main(arguments)
    assert done.value.code == 2
    errors = capsys.readouterr().err.strip()
    assert len(errors.splitlines()) == 1
    return errors
