"""Croissant 1.0 metadata of an exported folder.

Reference:
    Croissant format specification, version 1.0, MLCommons, http://mlcommons.org/croissant/1.0.
"""

from __future__ import annotations

import hashlib
import json

from lightning_distill.sets.export.hub_card import description, hub_license, kind_of, texts_of_card
from lightning_distill.sets.export.record import PreparedSet

METADATA = "train/metadata.jsonl"
#: JSON-LD context of the specification's appendix.
_TERMS = (
    "citeAs", "column", "extract", "field", "fileProperty", "fileObject", "fileSet", "format", "includes",
    "isLiveDataset", "jsonPath", "key", "md5", "parentField", "path", "recordSet", "references", "regex", "repeated",
    "replace", "samplingRate", "separator", "source", "subField", "transform",
)  # fmt: skip
CONTEXT: dict[str, object] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}


def croissant(prepared: PreparedSet, metadata: bytes) -> bytes:
    """Return Croissant metadata as JSON-LD.

    Args:
        prepared: Exported set.
        metadata: Content of `METADATA`.
    """
    spec, texts = prepared.spec, texts_of_card(prepared)
    files = [
        {
            "@type": "cr:FileObject",
            "@id": "metadata",
            "name": "metadata",
            "description": "Labels of the images, one JSON object a line.",
            "contentUrl": METADATA,
            "encodingFormat": "application/jsonlines",
            "sha256": hashlib.sha256(metadata).hexdigest(),
        },
        {
            "@type": "cr:FileSet",
            "@id": "png-files",
            "name": "png-files",
            "description": "Images, 8-bit PNG files.",
            "encodingFormat": "image/png",
            "includes": "train/*.png",
        },
    ]
    record_sets: list[dict[str, object]] = [_classes(prepared), _images(prepared)]
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": _name(spec.name),
        "description": description(prepared),
        "license": _license_url(spec.license),
        "url": "https://github.com/lightning-distill/lightning-distill",
        "version": "1.0.0",
        "datePublished": texts["date"],
        "creator": {"@type": "sc:Organization", "name": texts["creator"]},
        "citeAs": f"{spec.name}, {kind_of(prepared).made} ({texts['method']}); sha256 {texts['sha256']}",
        "isLiveDataset": False,
        "rai:dataCollection": texts["method"],
        "rai:personalSensitiveInformation": texts["warning"],
        "distribution": files,
        "recordSet": record_sets,
    }
    return json.dumps(content, indent=2, ensure_ascii=False).encode()


def _classes(prepared: PreparedSet) -> dict[str, object]:
    names = prepared.spec.class_names
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "description": "Class names by index.",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/index"},
        "field": [
            _field("classes", "index", "Index of the class.", "sc:Integer"),
            _field("classes", "name", "Name of the class.", "sc:Text"),
        ],
        "data": [{"classes/index": index, "classes/name": name} for index, name in enumerate(names)],
    }


def _images(prepared: PreparedSet) -> dict[str, object]:
    multi_label = prepared.spec.multi_label
    fields = [
        _field("images", "image", "Image.", "sc:ImageObject", ("fileSet", "png-files", {"fileProperty": "content"})),
        {
            **_field(
                "images", "file_name", "Name of the file.", "sc:Text",
                ("fileSet", "png-files", {"fileProperty": "filename"}),
            ),
            "references": {"fileObject": {"@id": "metadata"}, "extract": {"column": "file_name"}},
        },
    ]  # fmt: skip
    label = _field(
        "images",
        "labels" if multi_label else "label",
        "Indices of the classes." if multi_label else "Index of the class.",
        "sc:Integer",
        ("fileObject", "metadata", {"column": "labels" if multi_label else "label"}),
    )
    if multi_label:
        label["repeated"] = True
    else:
        label["references"] = {"field": {"@id": "classes/index"}}
    fields.append(label)
    if "soft_labels" in prepared.arrays:
        soft = _field(
            "images", "soft_labels", "Probabilities of the classes, to train with instead of the labels.", "sc:Float",
            ("fileObject", "metadata", {"column": "soft_labels"}),
        )  # fmt: skip
        fields.append({**soft, "repeated": True})
    return {
        "@type": "cr:RecordSet",
        "@id": "images",
        "name": "images",
        "description": "Images and labels.",
        "key": {"@id": "images/file_name"},
        "field": fields,
    }


def _field(
    owner: str, name: str, text: str, kind: str, source: tuple[str, str, dict[str, str]] | None = None
) -> dict[str, object]:
    field: dict[str, object] = {
        "@type": "cr:Field", "@id": f"{owner}/{name}", "name": name, "description": text, "dataType": kind,
    }  # fmt: skip
    if source is not None:
        kind_of_source, identifier, extract = source
        field["source"] = {kind_of_source: {"@id": identifier}, "extract": extract}
    return field


def _name(name: str) -> str:
    """Return a name without the characters that a file system or URL may not take."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip("-") or "set"


def _license_url(text: str) -> str:
    """Return the URL of a Creative Commons licence; any other licence text as it is."""
    identifier = hub_license(text)[0]
    if identifier == "cc0-1.0":
        return "https://creativecommons.org/publicdomain/zero/1.0/"
    if identifier.startswith("cc-"):
        kind, _, version = identifier.removeprefix("cc-").rpartition("-")
        return f"https://creativecommons.org/licenses/{kind}/{version}/"
    return text
