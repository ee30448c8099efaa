"""Normalize what is typed after a command to the form that jsonargparse parses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_distill.commands._options import SHELL_NAMES, command_parameters

PYTHON_NAMES = {shell: python for python, shell in SHELL_NAMES.items()}


def normalize_argv(words: Sequence[str], command: Callable[..., object], first: str | None = None) -> list[str]:
    """Turn dashes in option names into underscores, and several words after a list option into one list.

    ``--data scans`` becomes ``--data=FolderDataModule --data.root=scans`` for a folder, see `data_words`.
    ``--ipc 1 10`` becomes ``--ipc=[1,10]``, ``--baselines random`` becomes ``--baselines=["random"]``; lists in
    brackets are kept. ``--set`` becomes ``--synthetic_set`` or ``--sets`` where the command has that parameter.

    Args:
        words: Words of the command line after the name of the command.
        command: Function of the command. The annotations of its parameters tell which options are lists.
        first: Name of the option that receives the words before the first option.

    Returns:
        Words for jsonargparse, one for each option.
    """
    if first and words and not words[0].startswith("-"):
        words = [*data_words(words[0]), *words[1:]] if first == "data" else [f"--{first}", *words]
    kinds = {name: str(parameter.annotation) for name, parameter in command_parameters(command).items()}
    options: list[list[str]] = []
    modules = [name for name, kind in kinds.items() if "ArrayDataModule" in kind]
    for word in words:
        name, sign, value = word.partition("=")
        if word.startswith("--"):
            name = name[2:].replace("-", "_")
            name = PYTHON_NAMES.get(name, name) if PYTHON_NAMES.get(name) in kinds else name
            name = "sets" if name == "set" and "sets" in kinds else name
            options.append([f"--{name}", *([value] if sign else [])])
        elif options:
            options[-1].append(word)
        else:
            options.append([word])
    joined: list[str] = []
    for name, *values in options:
        place = values[0] if name[2:] in modules and len(values) == 1 else None
        named = None if place is None else data_words_or_none(place, name[2:])
        joined += named or [_join(name, values, kinds.get(name[2:], ""))]
    return joined


def data_words(place: str, option: str = "data") -> list[str]:
    """Return the options of the data module that a single word means.

    Args:
        place: Folder of images, npz file, or name of a MedMNIST set.
        option: Name of the option that takes the data module.

    Raises:
        FileNotFoundError: It is none of them.

    Example:
        >>> data_words("breastmnist")
        ['--data=MedMNISTDataModule', '--data.name=breastmnist']
    """
    if (words := data_words_or_none(place, option)) is not None:
        return words
    raise FileNotFoundError(
        f"{place!r} is no folder, npz file or MedMNIST name; give --data CLASS and its options for other data"
    )


def data_words_or_none(place: str, option: str) -> list[str] | None:
    """Return the options of `data_words`; ``None`` for any other word, such as the name of a class.

    Args:
        place: Word after the option.
        option: Name of the option that takes the data module.
    """
    from medmnist import INFO

    if Path(place).is_dir():
        return [f"--{option}=FolderDataModule", f"--{option}.root={place}"]
    if place.endswith(".npz") and Path(place).is_file():
        return [f"--{option}=NpzDataModule", f"--{option}.path={place}"]
    if place in INFO:
        return [f"--{option}=MedMNIST{'3D' * place.endswith('3d')}DataModule", f"--{option}.name={place}"]
    return None


def _join(name: str, values: list[str], kind: str) -> str:
    """Join an option and its values; ``kind`` is the annotation, such as ``list[str] | None``."""
    whole = len(values) == 1 and (not kind.startswith("list[") or values[0] == "null" or values[0].startswith("["))
    if whole or not values:
        return "=".join([name, *values])
    return f"{name}={json.dumps(values) if 'str' in kind or not kind else '[' + ','.join(values) + ']'}"
