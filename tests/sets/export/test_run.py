"""Writing an export: files that exist are kept, and a failure leaves nothing."""

from __future__ import annotations

import os

import pytest

from lightning_distill import export_set


def test_files_that_exist_are_kept(tmp_path, make_set):
    source, out = make_set(), tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="out has files, which are not overwritten; choose another folder"):
        export_set(source, out, to="npz")
    with pytest.raises(FileExistsError, match="is a file, which are not overwritten"):
        export_set(source, out / "mine.txt", to="npz")
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    with pytest.raises(FileExistsError):
        export_set(source, source.parent, to="npz")  # the set's own folder


def test_an_empty_folder_is_filled_and_parents_are_made(tmp_path, make_set):
    (tmp_path / "empty").mkdir()
    assert (export_set(make_set(), tmp_path / "empty", to="npz") / "set.npz").is_file()
    assert (export_set(make_set(), tmp_path / "a" / "b", to="npz") / "set.npz").is_file()


def test_a_full_disk_leaves_nothing(tmp_path, make_set, monkeypatch):
    source = make_set()
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        export_set(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set"]


def test_unknown_formats_and_missing_sets_are_named(tmp_path, make_set):
    with pytest.raises(ValueError, match="unknown format to='zip'; use one of imagefolder, npz, hf"):
        export_set(make_set(), tmp_path / "out", to="zip")
    with pytest.raises(FileNotFoundError, match="no set file"):
        export_set(tmp_path / "nowhere", tmp_path / "out", to="npz")
    with pytest.raises(FileNotFoundError, match="no set file"):
        export_set(tmp_path, tmp_path / "out", to="npz")
    assert not (tmp_path / "out").exists()


def test_a_damaged_set_is_not_exported(tmp_path, make_set):
    source = make_set()
    content = bytearray(source.read_bytes())
    content[-1] ^= 1
    source.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="sha256 differs"):
        export_set(source, tmp_path / "out")


def test_folders_are_readable_as_the_umask_says(tmp_path, make_set):
    mask = os.umask(0o027)
    try:
        out = export_set(make_set(), tmp_path / "out")
    finally:
        os.umask(mask)
    assert out.stat().st_mode & 0o777 == 0o750
