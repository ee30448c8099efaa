"""The Hugging Face folder: front matter, Croissant metadata, and the readers of both where they are installed."""

from __future__ import annotations

import hashlib
import json
from fnmatch import fnmatch

import numpy as np
import pytest
import yaml

from lightning_distill import export_set
from lightning_distill.sets.card import GENERATED, REDUCED, UNCHANGED
from lightning_distill.sets.export.hub_card import hub_license
from lightning_distill.sets.leakage_record import attach_audit
from lightning_distill.sets.storage import read_set, save_set


def front_matter(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, front, body = text.split("---\n", 2)
    return yaml.safe_load(front), body


def test_front_matter_names_licence_classes_and_files(tmp_path, make_set):
    front, body = front_matter(export_set(make_set(soft=True), tmp_path / "out", to="hf"))
    assert front["license"] == "cc-by-4.0"
    assert front["task_categories"] == ["image-classification"]
    assert front["size_categories"] == ["n<1K"]
    (config,) = front["configs"]
    assert config["data_files"] == [{"split": "train", "path": "train/**"}]
    image, label, soft = config["features"]
    assert image == {"name": "image", "dtype": "image"}
    assert label["dtype"]["class_label"]["names"] == {"0": "Mélanome / in situ", "1": '=b,"q"', "2": "c|d"}
    assert soft == {"name": "soft_labels", "sequence": "float32"}
    assert "what they reveal of the training images has not been measured" in body
    assert "0.0123" in body


def test_other_licences_are_named(tmp_path, make_set):
    front, _ = front_matter(export_set(make_set(license="ask: the hospital"), tmp_path / "out", to="hf"))
    assert (front["license"], front["license_name"]) == ("other", "ask: the hospital")
    assert hub_license("CC BY-NC-SA 4.0") == ("cc-by-nc-sa-4.0", "")
    assert hub_license("unknown") == hub_license("") == ("unknown", "")


def test_texts_of_a_stranger_are_no_markdown(tmp_path, make_set):
    source = make_set(license="[x](http://evil) <script>alert(1)</script> `a`")
    _, body = front_matter(export_set(source, tmp_path / "out", to="hf"))
    assert "<script>" not in body
    assert "[x](" not in body
    assert "`a`" not in body


@pytest.mark.parametrize("multi_label", [False, True])
def test_croissant_follows_the_specification(tmp_path, make_set, multi_label):
    """Required properties and resolvable references, after the Croissant 1.0 specification."""
    folder = export_set(make_set(soft=True, multi_label=multi_label), tmp_path / "out", to="hf")
    content = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    assert content["@type"] == "sc:Dataset"
    assert content["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    for key in ("name", "description", "license", "url", "creator", "datePublished"):
        assert content[key], key
    assert content["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert content["@context"]["cr"] == "http://mlcommons.org/croissant/"
    files = {file["@id"]: file for file in content["distribution"]}
    metadata = files["metadata"]
    assert metadata["sha256"] == hashlib.sha256((folder / metadata["contentUrl"]).read_bytes()).hexdigest()
    pictures = [path for path in folder.rglob("*") if path.suffix == ".png"]
    assert len(pictures) == 6
    assert all(fnmatch(path.relative_to(folder).as_posix(), files["png-files"]["includes"]) for path in pictures)
    row = json.loads((folder / "train/metadata.jsonl").read_text().splitlines()[0])
    known = {field["@id"] for record_set in content["recordSet"] for field in record_set["field"]}
    for record_set in content["recordSet"]:
        assert record_set["key"]["@id"] in known
        for field in record_set["field"]:
            assert field["@id"].startswith(f"{record_set['@id']}/")
            for source in filter(None, (field.get("source"), field.get("references"))):
                names = [source[key]["@id"] for key in ("fileObject", "fileSet") if key in source]
                assert all(name in files for name in names)
                assert source.get("extract", {}).get("column", "file_name") in row
                assert source.get("field", {}).get("@id", "classes/index") in known


def test_croissant_is_valid_for_its_own_library(tmp_path, make_set):
    mlcroissant = pytest.importorskip("mlcroissant")
    source = make_set(3, soft=True)
    read = mlcroissant.Dataset(str(export_set(source, tmp_path / "out", to="hf") / "croissant.json"))
    assert not read.metadata.ctx.issues.errors
    assert not read.metadata.ctx.issues.warnings
    records = list(read.records("images"))
    data = read_set(source)[0]
    assert [record["images/label"] for record in records] == data.labels.tolist()
    pixels = np.stack([np.asarray(record["images/image"]) for record in records])
    np.testing.assert_array_equal(pixels.transpose(0, 3, 1, 2), data.pixels.numpy())
    assert [record["classes/name"] for record in read.records("classes")] == list(data.spec.class_names)


def test_hugging_face_reads_images_classes_and_soft_labels(tmp_path, make_set):
    datasets = pytest.importorskip("datasets")
    source = make_set(3, soft=True)
    folder = export_set(source, tmp_path / "out", to="hf")
    read = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    data = read_set(source)[0]
    assert read.features["label"].names == list(data.spec.class_names)
    assert read["label"][:] == data.labels.tolist()
    np.testing.assert_array_equal(np.float32(read["soft_labels"][:]), data.soft_labels.numpy())
    pixels = np.stack([np.asarray(row["image"]) for row in read])
    np.testing.assert_array_equal(pixels.transpose(0, 3, 1, 2), data.pixels.numpy())


@pytest.mark.parametrize(("start", "words", "tag"), [
    (UNCHANGED, "6 unchanged real images of 3 classes, selected from", "real-images"),
    (REDUCED, "6 real images of 3 classes, selected and reduced from", "real-images"),
    (GENERATED, "6 synthetic images of 3 classes, generated from", "synthetic"),
    ("herding", "6 synthetic images of 3 classes, distilled from", "synthetic"),
])  # fmt: skip
def test_the_folder_says_what_its_images_are(start, words, tag, tmp_path, make_set):
    data, card = read_set(make_set())
    save_set(tmp_path / "other", data, {**card, "start": start})
    folder = export_set(tmp_path / "other", tmp_path / "out", to="hf")
    front, body = front_matter(folder)
    assert words in body
    assert tag in front["tags"]
    croissant = json.loads((folder / "croissant.json").read_text(encoding="utf-8"))
    assert croissant["description"].startswith(words)
    assert ("distilled" in front["pretty_name"] + croissant["citeAs"]) == (start == "herding")


def test_an_export_with_other_pixels_claims_no_audit_of_its_source(tmp_path, make_set):
    exact, formed = make_set(name="exact"), make_set(formation=2, name="formed")
    for path in (exact, formed):
        attach_audit(path, {"about": {}, "rows": []})
    assert "audit" in read_set(export_set(exact, tmp_path / "a", to="hf"))[1]
    folder = export_set(formed, tmp_path / "b", to="hf")
    assert "audit" not in read_set(folder)[1]
    assert "what they reveal of the training images has not been measured" in front_matter(folder)[1]
    with pytest.raises(ValueError, match=r"is an export; attach the audit to its set\.safetensors"):
        attach_audit(folder, {"about": {}, "rows": []})
    other = exact.rename(exact.parent / "named.safetensors")
    with pytest.raises(ValueError, match=r"not to named\.safetensors; rename it"):
        attach_audit(other, {"about": {}, "rows": []})
