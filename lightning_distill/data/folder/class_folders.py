"""List the files of class folders, with or without a folder for each split."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch.utilities import rank_zero_warn

from lightning_distill.data.checks.groups import SPLITS
from lightning_distill.data.folder.files import check_root, hidden, list_files, subfolders
from lightning_distill.data.folder.index import SPLIT_NAMES, Entry, shorten_list
from lightning_distill.data.readers import is_image


def list_folders(root: Path) -> list[Entry]:
    """List the files of ``root/train/ill/x.png`` etc., or of ``root/ill/x.png`` without splits.

    Class folders may have subfolders. Hidden files are ignored. Files in other formats and links to folders below a
    class are counted in a warning.

    Raises:
        FileNotFoundError: The folder does not exist.
        PermissionError: A folder cannot be accessed.
        ValueError: There are no class folders, a class folder has no images, there are other folders beside the split
            folders, or the train folder is missing.
    """
    check_root(root)
    folders, by_split = subfolders(root), dict[str, Path]()
    for folder in folders:
        if split := SPLIT_NAMES.get(folder.name.lower()):
            if split in by_split:
                raise ValueError(f"the folders {by_split[split].name} and {folder.name} are both {split}; keep one")
            by_split[split] = folder
    if not by_split:
        return _classes(root, root, "train")
    if "train" not in by_split:
        raise ValueError(
            f"there is a folder {shorten_list([f.name for f in by_split.values()])} but no folder train; add it"
        )
    if others := [folder.name for folder in folders if folder not in by_split.values()]:
        raise ValueError(
            f"there is a folder {shorten_list(others)} beside the split folders; move it out of root or into the splits"
        )
    return [entry for split in SPLITS if split in by_split for entry in _classes(root, by_split[split], split)]


def _classes(root: Path, folder: Path, split: str) -> list[Entry]:
    folders = subfolders(folder)
    if not folders:
        name = "root" if folder == root else folder.name
        raise ValueError(f"{name} has no class folders; put the images into one folder per class, or give table")
    entries, others = [], 0
    for class_folder in folders:
        files = list(list_files(root, class_folder, set(), others=True))
        images = [path for path, supported in files if supported]
        others += len(files) - len(images)
        if not images:
            raise ValueError(
                f"the class folder {class_folder.relative_to(root).as_posix()} has no images; remove the folder or "
                "add images"
            )
        entries += [Entry(path, split, (class_folder.name,)) for path in images]
    if loose := sum(path.is_file() and not hidden(path.name) and is_image(path) for path in folder.iterdir()):
        rank_zero_warn(f"{loose} images beside the class folders have no label and are left out")
    if others:
        rank_zero_warn(
            f"{others} files below the class folders are in unsupported formats or links to folders and are left out"
        )
    return entries
