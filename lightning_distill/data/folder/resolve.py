"""Find the files that the cells of a table name: by path, by name in any folder, with or without a suffix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lightning_distill.data.folder.files import is_file, list_files
from lightning_distill.data.folder.index import shorten_list
from lightning_distill.data.folder.masks import find_masks, stem_of


def find_named_files(root: Path, cells: Sequence[str], table: Path) -> list[str]:
    """Return the path below the root of each cell of a table.

    A cell is the path of a file; or the end of its path, as ``x.png`` for ``images_001/x.png``; or either without a
    suffix, as ``ISIC_0024306``. The first folders of all cells may be missing on disk: ``CheXpert-v1.0-small/train/..``
    is found as ``train/..``. Masks are found only by their full path.

    Args:
        root: Folder of the files.
        cells: Paths as the table has them.
        table: Path of the table, which is left out of the search.

    Raises:
        ValueError: A file is not below root, or a cell fits several files.
    """
    if all(is_file(root / cell) for cell in cells):
        return list(cells)
    files = [path for path, _ in list_files(root, root, {table.resolve()})]
    by_stem: dict[str, list[str]] = defaultdict(list)
    for path in sorted(set(files) - find_masks(files, 0)):
        by_stem[stem_of(path)].append(path)
    leading = [PurePosixPath(cell).parts[:-1] for cell in cells]
    shared = 0
    while all(len(parts) > shared for parts in leading) and len({parts[shared] for parts in leading}) == 1:
        shared += 1
    for dropped in range(1, shared + 1):
        shorter = [PurePosixPath(*PurePosixPath(cell).parts[dropped:]).as_posix() for cell in cells]
        if all(is_file(root / cell) for cell in shorter):
            return shorter
    paths = [_find(root, PurePosixPath(cell), by_stem, table.name) for cell in cells]
    if missing := [cell for cell, path in zip(cells, paths, strict=True) if path is None]:
        raise ValueError(
            f"{table.name} lists {shorten_list(sorted(missing))}, not found below root, in no folder and with no "
            "suffix of an image; correct root or the paths"
        )
    return [path for path in paths if path is not None]


def _find(root: Path, cell: PurePosixPath, by_stem: dict[str, list[str]], table: str) -> str | None:
    """Return the only file with a path that ends like a cell, or None.

    Raises:
        ValueError: Several files fit.
    """
    if is_file(root / cell):
        return cell.as_posix()
    same_name = [path for path in by_stem.get(stem_of(cell.name), []) if PurePosixPath(path).name == cell.name]
    candidates = same_name or by_stem.get(cell.name, [])  # a name without suffix is the stem
    parent = cell.parts[:-1]
    fitting = [
        path for path in candidates if PurePosixPath(path).parts[:-1][-len(parent) or None :] == parent or not parent
    ]
    if len(fitting) > 1:
        raise ValueError(
            f"{table} lists {cell.as_posix()!r}, which fits {shorten_list(fitting)}; give the path in the table"
        )
    return fitting[0] if fitting else None
