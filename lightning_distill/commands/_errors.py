"""Shorten jsonargparse error messages to one line that names the option and the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from inspect import isabstract

from lightning_distill._renamed import renamed_argument, renamed_attribute, renamed_module

#: Lines that name neither the fault nor the way out.
_NOISE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: |Errors:$|Expected a path but |Given value type: "
    r"|Expected a <class 'NoneType'>|Given value: (Namespace\(|NestedArg\(|\{)"
)
_KEY = re.compile(r'Parser key "([^"]+)":')
_CLASS_PATH = re.compile(r"Problem with given class_path '((?:[^']*\.)?(\w+))':")
_NO_ATTRIBUTE = re.compile(r"module '([^']+)' has no attribute '(\w+)'.*")
_NO_CLASS = re.compile(r"Expected a dot import path string: (.*)")
_NO_MODULE = re.compile(r"[Nn]o module named '?([\w.]+)'?.*")
_NO_OPTION = re.compile(r"Option '([^']+)' is not accepted")
_UNKNOWN = re.compile(r"[Uu]nrecognized arguments: --([\w.]+).*")
_MISSING = re.compile(r"the following arguments are required: (.*)")
_TYPE = re.compile(r"Expected a (?:typing\.)?(?:<class '(\w+)'>|(.+?))(?:\. Got value: (.*))?")


def format_parser_error(message: str, command: str) -> str:
    """Return the first cause in a jsonargparse message as one line; other messages are returned unchanged.

    Args:
        message: Message of the error.
        command: Name of the command that was run, such as ``fit``.
    """
    if refused := _NO_OPTION.fullmatch(message) or _UNKNOWN.fullmatch(message):
        return message + renamed_argument(refused[1], [command])
    if not any(sign in message for sign in ("Parser key", "Union subtypes", "are required:")):
        return message
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    keys: list[str] = []
    parts: list[str] = []
    class_path = owner = ""
    for line in (line for line in lines if line and not _NOISE.match(line)):
        option = f"--{'.'.join(keys)}"
        if key := _KEY.match(line):
            keys.append(key[1])
            parts = [f"--{'.'.join(keys)}:", line[key.end() :].strip()]
        elif problem := _CLASS_PATH.match(line):
            class_path, owner = problem[1], problem[2]
        elif no_class := _NO_CLASS.fullmatch(line):
            hint = renamed_attribute(no_class[1]) or f"; {_known_classes(no_class[1], keys, command)}"
            return f"{option}: there is no class {no_class[1]!r}{hint}"
        elif no_attribute := _NO_ATTRIBUTE.fullmatch(line):
            hint = renamed_attribute(owner) or renamed_module(class_path.rpartition(".")[0])
            return f"{option}: module {no_attribute[1]!r} has no attribute {no_attribute[2]!r}{hint}"
        elif no_module := _NO_MODULE.fullmatch(line):
            hint = renamed_module(no_module[1])
            hint = hint or f"; `python -m lightning_distill {command}` also searches the current folder"
            return f"{option}: there is no module {no_module[1]!r}{hint}"
        elif no_option := _NO_OPTION.fullmatch(line):
            hint = renamed_argument(no_option[1], _with_bases(class_path))
            hint = hint or f"; `lightning-distill {command} {option}.help {owner}` lists its options"
            return f"{owner} has no option {option}.{no_option[1]}{hint}"
        elif missing := _MISSING.fullmatch(line):
            return _missing_options(missing[1].split(", "), keys, owner, command)
        else:
            parts.append(_shorten(line))
    return " ".join(filter(None, parts))


def _known_classes(name: str, keys: Sequence[str], command: str) -> str:
    """Return the names of the classes that an option accepts, closest first, or the command that lists them."""
    from lightning_distill.data import ArrayDataModule
    from lightning_distill.distillers import Distiller
    from lightning_distill.generators import Generator

    bases: dict[str, tuple[type, ...]] = {
        "model": (Distiller, Generator), "data": (ArrayDataModule,), "test_data": (ArrayDataModule,)
    }  # fmt: skip
    if keys[-1] not in bases:
        return f"`lightning-distill {command} --help` lists the classes"
    names = sorted(kind.__name__ for base in bases[keys[-1]] for kind in _concrete_subclasses(base))
    stems = {re.sub("(Distiller|Generator|DataModule)$", "", known): known for known in names}
    close = get_close_matches(re.sub("(Distiller|Generator|DataModule)$", "", name), stems, cutoff=0.5)
    return f"use {', '.join(map(stems.__getitem__, close)) or ', '.join(names)}, or the dotted path of another class"


def _concrete_subclasses(base: type) -> set[type]:
    """Return the imported subclasses that can be instantiated, subclasses of subclasses too."""
    direct: list[type] = base.__subclasses__()
    found = {kind for one in direct for kind in (one, *_concrete_subclasses(one))}
    return {kind for kind in found if not isabstract(kind)}


def _with_bases(class_path: str) -> list[str]:
    """Return the names of a class and of its bases."""
    module, _, name = class_path.rpartition(".")
    try:
        kind: type = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return [name]
    return [base.__name__ for base in kind.__mro__]


def _missing_options(names: Sequence[str], keys: Sequence[str], owner: str, command: str) -> str:
    options = " and ".join(f"--{'.'.join([*keys, name.removeprefix(f'{command}.')])}" for name in names)
    whole = " or --config FILE" if owner == "" else ""
    return f"{owner or command} needs {options}{whole}; see `lightning-distill {command} --help`"


def _shorten(line: str) -> str:
    """Return ``Expected a <class 'int'>. Got value: x`` as ``expected int, not x``."""
    if match := _TYPE.fullmatch(line):
        expected = (match[1] or match[2]).replace("Literal", "one of ")
        return f"expected {expected}" + (f", not {match[3]}" if match[3] is not None else ";")
    return line.replace("Given value:", "given:")
