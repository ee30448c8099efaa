"""Configurations that come with the package, by name."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
#: Folders of the configurations: in an installed package, and in a checkout.
FOLDERS = (PACKAGE / "configs", PACKAGE.parent / "benchmarks" / "configs")


def list_configs() -> dict[str, Path]:
    """Return the configurations that come with the package: their files by name."""
    return {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.yaml"))}


def with_config_paths(words: Sequence[str]) -> list[str]:
    """Replace ``--config NAME`` by the file of that configuration, unless there is a file NAME.

    Args:
        words: Words of the command line.

    Raises:
        FileNotFoundError: There is neither a file nor a configuration of that name.
    """
    found: list[str] = []
    for before, word in zip(["", *words], words, strict=False):
        option, sign, value = word.partition("=")
        if before in ("--config", "-c"):
            found.append(_path(word))
        elif option == "--config" and sign:
            found.append(f"--config={_path(value)}")
        else:
            found.append(word)
    return found


def _path(value: str) -> str:
    known = list_configs()
    if Path(value).exists() or not value.replace("_", "").isalnum():
        return value
    if value not in known:
        close = get_close_matches(value, known) or ["breastmnist_dm"]
        raise FileNotFoundError(f"--config {value}: no such file or configuration; closest: {', '.join(close)}")
    return str(known[value])
