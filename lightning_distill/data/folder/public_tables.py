"""Recognise the tables of public data sets by their columns, to name the arguments that read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class PublicTable(NamedTuple):
    """Table of a public data set.

    Args:
        name: Name of the data set.
        path: Column of the image names.
        label: Column of the labels, or 0/1 columns joined by ``|``.
        patient: Column of the patients or lesions; empty if there is none.
        note: Further advice.
    """

    name: str
    path: str
    label: str
    patient: str = ""
    note: str = ""


_CHEST = (
    "Enlarged Cardiomediastinum|Cardiomegaly|Lung Opacity|Lung Lesion|Edema|Consolidation|Pneumonia|Atelectasis|"
    "Pneumothorax|Pleural Effusion|Pleural Other|Fracture|Support Devices"
)
_UNCERTAIN = "columns.uncertain=0 or 1 replaces the cells -1"
TABLES = (
    PublicTable("NIH ChestX-ray14", "Image Index", "Finding Labels", "Patient ID"),
    PublicTable("HAM10000", "image_id", "dx", "lesion_id"),
    PublicTable("CheXpert", "Path", _CHEST, "", _UNCERTAIN),
    PublicTable("ISIC 2019", "image", "MEL|NV|BCC|AK|BKL|DF|VASC|SCC"),
    PublicTable("ISIC 2018", "image", "MEL|NV|BCC|AKIEC|BKL|DF|VASC"),
    PublicTable("ISIC 2020", "image_name", "benign_malignant", "patient_id"),
    PublicTable("ISIC 2017", "image_id", "melanoma|seborrheic_keratosis"),
    PublicTable("ISIC archive", "isic_id", "benign_malignant", "patient_id"),
    PublicTable("ISIC archive", "isic_id", "diagnosis_1", "patient_id"),
    PublicTable("PAD-UFES-20", "img_id", "diagnostic", "patient_id"),
    PublicTable("APTOS 2019", "id_code", "diagnosis"),
    PublicTable("EyePACS", "image", "level"),
    PublicTable("RSNA pneumonia", "patientId", "Target", "", "keep one row per image first"),
    PublicTable("VinDr-CXR", "image_id", "class_name", "", "keep one row per image first"),
    PublicTable("CBIS-DDSM", "image file path", "pathology", "patient_id"),
    PublicTable("Messidor", "image_id", "adjudicated_dr_grade"),
    PublicTable("BreakHis", "filename", "label"),
)


def describe_public_table(names: Sequence[str]) -> str:
    """Return the arguments for the public table that has these columns, or an empty text."""
    for table in TABLES:
        if {table.path, *table.label.split("|")} <= set(names):
            patient = f", columns.patient={table.patient!r}" if table.patient in names and table.patient else ""
            note = f"; {table.note}" if table.note else ""
            return (
                f"its columns are those of {table.name}: set columns.path={table.path!r}, "
                f"columns.label={table.label!r}{patient}{note}"
            )
    return ""
