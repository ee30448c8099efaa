"""Build the shell command that reproduces a result, without paths of the machine that made it."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

#: Shell names of arguments that are called differently in Python.
SHELL_NAMES = {"recipe": "config", "synthetic_set": "set"}
#: Options that depend on the machine or say where results go; they are left out of recorded commands.
NOT_RECORDED = frozenset({
    "accelerator", "compile", "known", "on_progress", "on_result", "on_start", "out", "predictions",
})  # fmt: skip


def command_line(
    function: Callable[..., object],
    arguments: Mapping[str, object],
    without: Collection[str] = NOT_RECORDED,
    name: str | None = None,
) -> str:
    """Return the shell command that calls a function with the given arguments.

    Options appear in the order of the function's signature; those with their default value are left out. An absolute
    path is shortened to its last component, and a data module is written by its reproducible arguments.

    Args:
        function: Function behind the command, such as ``evaluate``.
        arguments: Value of each parameter; missing parameters count as default.
        without: Names of parameters that are left out.
        name: Name of the command. Default: the name of the function.

    Returns:
        Command line, quoted for a POSIX shell.

    Example:
        >>> def quickstart(out: str = "quickstart", ipc: int = 1, steps: int = 300) -> None: ...
        >>> command_line(quickstart, {"out": "/tmp/run", "ipc": 10})
        'lightning-distill quickstart --ipc 10'
    """
    parts = ["lightning-distill", (name or function.__name__).replace("_", "-")]
    for key, parameter in inspect.signature(function).parameters.items():
        value = arguments.get(key, parameter.default)
        if key not in without and value != parameter.default:
            parts += option(SHELL_NAMES.get(key, key), value)
    return shlex.join(parts)


def option(name: str, value: object) -> list[str]:
    """Return the words of one option, such as ``["--ipc", "10"]``.

    Args:
        name: Name of the option without dashes.
        value: Value of the option; an object with ``reproducible_args`` becomes its class name and those arguments.
    """
    arguments = getattr(value, "reproducible_args", None)
    if arguments is None:
        return [f"--{name}", _text(value)]
    words = [f"--{name}", type(value).__name__]
    for key, argument in arguments.items():
        words += [f"--{name}.{key}", str(argument)]
    return words


def _text(value: object) -> str:
    if isinstance(value, bool | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list | tuple):
        cells = [str(cell) for cell in value]
        plain = all(re.fullmatch(r"[\w.+-]+", cell) for cell in cells)
        return f"[{','.join(cells)}]" if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    text = str(value)
    return Path(text).name if Path(text).is_absolute() else text
