"""Exports that were changed, cut or made up are refused in one line."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from lightning_distill import export_set, load_set
from lightning_distill.sets.export.folder_files import verify_checksums


def refused(path, match=""):
    with pytest.raises(ValueError, match=match) as error:
        load_set(path)
    assert "\n" not in str(error.value)


@pytest.fixture
def hf(tmp_path, make_set):
    return export_set(make_set(), tmp_path / "hf", to="hf")


@pytest.fixture
def folder(tmp_path, make_set):
    return export_set(make_set(), tmp_path / "images", to="imagefolder")


@pytest.fixture
def npz(tmp_path, make_set):
    return export_set(make_set(), tmp_path / "npz", to="npz") / "set.npz"


def rewrite(path, change):
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")


def test_a_changed_pixel_label_or_card_is_noticed(hf, folder, npz, tmp_path):
    image = np.array(Image.open(hf / "train/000000.png"))
    image[0, 0] ^= 1
    Image.fromarray(image).save(hf / "train/000000.png")
    refused(hf, "sha256 differs")
    rewrite(folder / "labels.csv", lambda text: text.replace(",0\n", ",1\n", 1))
    refused(folder, "sha256 differs")
    arrays = dict(np.load(npz))
    arrays["card"] = np.array(str(arrays["card"]).replace("DMDistiller", "MTTDistiller"))
    np.savez(npz, **arrays)
    refused(npz, "sha256 differs")
    refused(npz.parent, "sha256 differs")


def test_rows_in_another_order_are_another_set(hf):
    rewrite(hf / "train/metadata.jsonl", lambda text: "\n".join(reversed(text.splitlines())))
    refused(hf, "sha256 differs")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/hostname", "train/../../x.png", "000000.jpg"])
def test_names_do_not_lead_out_of_the_folder(hf, folder, name):
    rewrite(hf / "train/metadata.jsonl", lambda text: text.replace("000000.png", name))
    refused(hf, "names other files than its own")
    rewrite(folder / "labels.csv", lambda text: text.replace("images/0_Melanome_in_situ/000000.png", name))
    refused(folder, "rows without path")


def test_links_do_not_lead_out_of_the_folder(hf, tmp_path):
    outside = tmp_path / "outside.png"
    (hf / "train/000000.png").rename(outside)
    (hf / "train/000000.png").symlink_to(outside)
    refused(hf, "is not in the folder of the export")


def test_missing_cut_and_foreign_files_are_named(hf, tmp_path):
    path = hf / "train/000001.png"
    content = path.read_bytes()
    for damage in (content[:60], b"", b"GIF89a" + content, content[:8]):
        path.write_bytes(damage)
        refused(hf, "000001.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(path)
    refused(hf, "000001.png has 9 x 9 pixels of mode L")
    Image.fromarray(np.zeros((12, 13, 3), np.uint8)).save(path)
    refused(hf, "of mode RGB")
    path.unlink()
    refused(hf, "000001.png is missing")


@pytest.mark.parametrize("name", ["card.json", "export.json", "train/metadata.jsonl"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 2}', "[" * 100_000, "\x00", '"x"', "1\n2"])
def test_bad_text_files_are_refused(hf, name, content):
    (hf / name).write_text(content)
    refused(hf, "hf is not a readable set file")


def test_other_versions_and_formats_are_named(hf):
    record = json.loads((hf / "export.json").read_text())
    for change, match in (({"version": 2}, "version 2"), ({"to": "tar"}, "unknown format 'tar'")):
        (hf / "export.json").write_text(json.dumps({**record, **change}))
        refused(hf, match)
    for change in ({"formation": "2"}, {"lr": "a"}, {"to": 1}, {"new": 1}):
        (hf / "export.json").write_text(json.dumps({**record, **change}))
        refused(hf, "export.json")
    (hf / "export.json").write_text(json.dumps({**record, "lr": 0.5}))
    refused(hf, "sha256 differs")


def test_npz_files_of_other_kinds_are_refused(npz, tmp_path):
    content = npz.read_bytes()
    for damage in (content[: len(content) // 2], b"", b"PK\x03\x04"):
        npz.write_bytes(damage)
        refused(npz, "set.npz is not a readable set file")
    np.savez(npz, train_images=np.zeros((2, 8, 8), np.uint8), train_labels=np.zeros((2, 1)))
    refused(npz, "NpzDataModule")
    np.savez(npz, card=np.array([{"a": 1}], dtype=object))
    refused(npz, "Python objects")
    np.savez_compressed(npz, card=np.zeros(10**7))
    refused(npz, "is compressed")
    np.savez(npz, **{f"a{number}": np.zeros(1) for number in range(9)})
    refused(npz, "9 arrays")


def test_a_header_that_declares_more_than_the_file_is_refused_before_it_is_allocated(npz):
    with zipfile.ZipFile(npz, "w") as archive:
        header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000000,)}"
        header = header.ljust(117) + b"\n"
        archive.writestr("card.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    refused(npz, "fewer values than it declares")


def test_checksums_name_what_was_added_removed_or_changed(hf):
    verify_checksums(hf)
    (hf / ".gitattributes").write_text("")
    verify_checksums(hf)
    (hf / "new.txt").write_text("")
    with pytest.raises(ValueError, match=r"'new.txt' in hf was added, removed or changed"):
        verify_checksums(hf)
    (hf / "new.txt").unlink()
    readme = (hf / "README.md").read_text()
    (hf / "README.md").write_text(readme + "x")
    with pytest.raises(ValueError, match=r"'README.md'"):
        verify_checksums(hf)
    (hf / "README.md").unlink()
    with pytest.raises(ValueError, match=r"'README.md'"):
        verify_checksums(hf)
    (hf / "SHA256SUMS").unlink()
    with pytest.raises(ValueError, match="no readable SHA256SUMS"):
        verify_checksums(hf)
