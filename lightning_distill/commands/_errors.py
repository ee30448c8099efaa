"""What the parser refuses, in one line: it tells of every type it tried; the reader needs the one that was meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches

#: Lines that name neither the fault nor the way out.
_NOISE = re.compile(
    r"Does not validate against any of the Union subtypes|Subtypes: |Errors:$|Expected a path but |Given value type: "
    r"|Expected a <class 'NoneType'>|Given value: (Namespace\(|NestedArg\(|\{)"
)
_KEY = re.compile(r'Parser key "([^"]+)":')
_OF_CLASS = re.compile(r"Problem with given class_path '(?:[^']*\.)?(\w+)':")
_NO_CLASS = re.compile(r"Expected a dot import path string: (.*)")
_NO_MODULE = re.compile(r"No module named (.*)")
_NO_OPTION = re.compile(r"Option '([^']+)' is not accepted")
_MISSING = re.compile(r"the following arguments are required: (.*)")
_TYPE = re.compile(r"Expected a (?:typing\.)?(?:<class '(\w+)'>|(.+?))(?:\. Got value: (.*))?")


def format_parser_error(message: str, command: str) -> str:
    """A refusal of jsonargparse in one line, with the option's full name; any other message as it is.

    Args:
        message: of the error.
        command: whose options they are, such as ``fit``.
    """
    if not any(sign in message for sign in ("Parser key", "Union subtypes", "are required:")):
        return message
    lines = [line.strip().removeprefix("- ") for line in message.splitlines()]
    keys: list[str] = []
    said: list[str] = []
    owner = ""
    for line in (line for line in lines if line and not _NOISE.match(line)):
        if key := _KEY.match(line):
            keys.append(key[1])
            said = [f"--{'.'.join(keys)}:", line[key.end() :].strip()]
        elif of_class := _OF_CLASS.match(line):
            owner = of_class[1]
        elif no_class := _NO_CLASS.fullmatch(line):
            return f"--{'.'.join(keys)}: there is no class {no_class[1]!r}; {_known(no_class[1], keys, command)}"
        elif no_module := _NO_MODULE.fullmatch(line):
            way = f"`python -m lightning_distill {command}` looks in this folder too"
            return f"--{'.'.join(keys)}: there is no module {no_module[1]}; {way}"
        elif no_option := _NO_OPTION.fullmatch(line):
            where = ".".join(keys)
            listed = f"`lightning-distill {command} --{where}.help {owner}`"
            return f"{owner} has no option --{where}.{no_option[1]}; {listed} shows those it has"
        elif missing := _MISSING.fullmatch(line):
            return _missing(missing[1].split(", "), keys, owner, command)
        else:
            said.append(_said(line))
    return " ".join(filter(None, said))


def _known(name: str, keys: Sequence[str], command: str) -> str:
    """The classes that an option can name, or where they are listed."""
    from lightning_distill.data import ArrayDataModule
    from lightning_distill.distillers import Distiller

    bases: dict[str, type] = {"model": Distiller, "data": ArrayDataModule, "test_data": ArrayDataModule}
    if keys[-1] not in bases:
        return f"`lightning-distill {command} --help` lists those there are"
    names = sorted(kind.__name__ for kind in _below(bases[keys[-1]]))
    close = get_close_matches(name, names, cutoff=0.4) or names
    return f"use {', '.join(close)}, or the dotted path of your own"


def _below(base: type) -> set[type]:
    """Subclasses that are loaded; those with classes of their own below them are bases."""
    direct: list[type] = base.__subclasses__()
    return {kind for one in direct for kind in ({one} if not one.__subclasses__() else _below(one))}


def _missing(names: Sequence[str], keys: Sequence[str], owner: str, command: str) -> str:
    options = " and ".join(f"--{'.'.join([*keys, name.removeprefix(f'{command}.')])}" for name in names)
    whole = " or --config FILE" if owner == "" else ""
    return f"{owner or command} needs {options}{whole}; see `lightning-distill {command} --help`"


def _said(line: str) -> str:
    """``Expected a <class 'int'>. Got value: x`` as ``expected int, not x``."""
    if found := _TYPE.fullmatch(line):
        expected = (found[1] or found[2]).replace("Literal", "one of ")
        return f"expected {expected}" + (f", not {found[3]}" if found[3] is not None else ";")
    return line.replace("Given value:", "given:")
