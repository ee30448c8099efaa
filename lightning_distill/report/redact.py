"""Removal of folder names from text. The path of a file may identify its author."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePath, PurePosixPath, PureWindowsPath


def redact_paths(text: str) -> str:
    """Shorten absolute paths in a text to their last part."""
    return re.sub(r"(?<![\w.:/\\~])(?:~|[A-Za-z]:)?(?:[/\\][^\s/\\'\",;]+){2,}[/\\]?", _last_part, text)


def redact_command(command: str) -> str:
    """Shorten absolute paths in a command line to their last part; arguments with spaces keep their quotes."""
    try:
        words = shlex.split(command)
    except ValueError:  # unclosed quote: not a command of this package
        return redact_paths(command)
    short = []
    for word in words:
        option, equals, value = word.rpartition("=") if word.startswith("-") else ("", "", word)
        short.append(option + equals + (_name(value) if _absolute(value) else redact_paths(value)))
    return shlex.join(short)


def _last_part(match: re.Match[str]) -> str:
    return _name(match[0])


def _name(path: str) -> str:
    pure: type[PurePath] = PureWindowsPath if "\\" in path else PurePosixPath
    return pure(path).name


def _absolute(path: str) -> bool:
    return path.startswith(("/", "~/", "~\\")) or PureWindowsPath(path).is_absolute()


def plain(value: object) -> str:
    """Format a value of a card as text, without folders of the machine that wrote it."""
    if value is None or value == "":
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text}" for key, part in value.items() if (text := plain(part)))
    if isinstance(value, (list, tuple)):
        return " / ".join(map(plain, value))
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return redact_paths(str(value))
