"""Files that appear whole or not at all: written beside their target, synchronised, and renamed."""

from __future__ import annotations

import itertools
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

#: Tells temporary files of this process from those of an earlier process of the same number.
_TOKEN, _COUNTER = secrets.token_hex(4), itertools.count()


def write_files_atomically(contents: Mapping[Path, bytes]) -> None:
    """Write all files under temporary names in their folders, then rename them in the given order.

    Temporary files of processes that were killed while they wrote one of these files are removed first.

    Args:
        contents: Content of each file by path.

    Raises:
        OSError: A folder cannot be written, or the disk is full. Older files are kept.
    """
    written: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            remove_stale_temporaries(path)
            temporary = written[path] = temporary_beside(path)
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            os.replace(temporary, path)
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Return a new name for a temporary file in the folder of its target.

    Args:
        path: Target of the write.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{_TOKEN}-{next(_COUNTER)}.tmp")


def remove_stale_temporaries(path: Path) -> None:
    """Remove the temporary files of a target that killed processes left behind.

    Args:
        path: Target of the writes.
    """
    # Names of version 0.1.0 end in eight random characters.
    name = re.compile(rf"\.{re.escape(path.name)}\.(?:(\d+)-([0-9a-f]+)-\d+\.tmp|[a-z0-9_]{{8}})")
    if not path.parent.is_dir():
        return
    for sibling in path.parent.iterdir():
        match = name.fullmatch(sibling.name)
        if match and not (match[1] and _is_running(int(match[1]), match[2])):
            sibling.unlink(missing_ok=True)


def _is_running(process: int, token: str) -> bool:
    if process == os.getpid():
        return token == _TOKEN
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
