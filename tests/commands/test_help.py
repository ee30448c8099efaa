"""Help of the commands: read from their source, complete, and without torch."""

import os
import re
import subprocess
import sys

import pytest
from jsonargparse import capture_parser

from lightning_distill.cli import COMMANDS, main

#: Prints the modules that the help of all commands imports.
IMPORTS = """
import contextlib, io, sys
from lightning_distill.cli import COMMANDS, main
for command in [*COMMANDS, "fit"]:
    with contextlib.redirect_stdout(io.StringIO()):
        main([command, "--help"])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def options_in(text):
    return set(re.findall(r"^  (--[a-z_]+)", text, re.MULTILINE))


def test_help_imports_neither_torch_nor_lightning_nor_numpy():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    assert not {"torch", "lightning", "numpy", "jsonargparse", "medmnist"} & set(done.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_the_options_that_the_parser_has(command, capsys):
    from importlib import import_module

    from jsonargparse import auto_cli

    name = command.replace("-", "_")
    function = getattr(import_module(f"lightning_distill.commands.{name}"), name)
    parser = capture_parser(lambda: auto_cli(function, as_positional=False))
    known = {f"--{action.dest}" for action in parser._actions if "." not in action.dest}
    known -= {"--help", "--print_config", "--print_shtab"}
    main([command, "--help"])
    shown = {{"--set": "--synthetic_set"}.get(option, option) for option in options_in(capsys.readouterr().out)}
    if command == "audit-set":
        known = known - {"--recipe"}  # ``--config`` in the shell
    assert shown == known


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_in_the_help_is_described(command, capsys):
    main([command, "--help"])
    shown = capsys.readouterr().out
    options = re.split(r"^  --", shown.partition("options:")[2], flags=re.MULTILINE)[1:]
    assert len(options) > 1
    for option in options:
        words = option.split("(type:")[0].split()
        assert len(words) > 3, f"{command}: {option}"


def test_values_of_a_choice_are_listed_and_defaults_are_given(capsys):
    main(["evaluate", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "(type: val|test, default: 'test')" in shown
    assert "--data.help FolderDataModule lists the arguments of a class" in shown
    main(["mix", "-h"])
    assert "(type: str, required)" in " ".join(capsys.readouterr().out.split())


def test_help_of_fit_names_its_options_and_the_way_to_those_of_lightning(capsys):
    main(["fit", "--help"])
    shown = capsys.readouterr().out
    assert {"--help_all", "--out", "--students", "--protocol", "--require_gain"} <= options_in(shown)
    with pytest.raises(SystemExit) as done:
        main(["fit", "--help_all"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert "--trainer.max_steps" in shown
    assert "--out" in shown


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["relabel", "--help"], ["fit", "--help"]])
def test_a_reader_that_closes_the_output_ends_the_help_without_a_traceback(words):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-W", "ignore", "-m", "lightning_distill", *words]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
