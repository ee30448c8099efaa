"""What people type after one of our commands, in the form jsonargparse knows."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence


def normalize_argv(words: Sequence[str], command: Callable[..., object], first: str | None = None) -> list[str]:
    """``--test-data`` as ``--test_data``, several words as a list, a single one too where the option is a list.

    ``--ipc 1 10`` becomes ``--ipc=[1,10]``, ``--baselines random`` becomes ``--baselines=["random"]``; lists in
    brackets stay as they are.

    Args:
        words: after the command.
        command: the function; the annotations of its parameters say which options are lists, and of what.
        first: the option that words before the first option belong to.
    """
    if first and words and not words[0].startswith("-"):
        words = [f"--{first}", *words]
    options: list[list[str]] = []
    for word in words:
        name, sign, value = word.partition("=")
        if word.startswith("--"):
            options.append([f"--{name[2:].replace('-', '_')}", *([value] if sign else [])])
        elif options:
            options[-1].append(word)
        else:
            options.append([word])
    parameters = inspect.signature(command).parameters
    kinds = {f"--{name}": str(parameter.annotation) for name, parameter in parameters.items()}
    return [_joined(name, values, kinds.get(name, "")) for name, *values in options]


def _joined(name: str, values: list[str], kind: str) -> str:
    """An option and its values as one word; ``kind`` is the annotation, such as ``list[str] | None``."""
    whole = len(values) == 1 and (not kind.startswith("list[") or values[0] == "null" or values[0].startswith("["))
    if whole or not values:
        return "=".join([name, *values])
    return f"{name}={json.dumps(values) if 'str' in kind or not kind else '[' + ','.join(values) + ']'}"
