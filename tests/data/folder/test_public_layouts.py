"""Miniatures of public data sets: right classes, counts and splits, or one line with what was seen and what to do.

Each layout is that of the published archive, with a few files of a few pixels. Files of a format that is detected by
its suffix may be empty where only the listing is tested.
"""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from lightning_distill import FolderDataModule
from lightning_distill.data.folder import Columns
from lightning_distill.data.folder.class_folders import list_folders
from lightning_distill.data.folder.masks import find_masks
from lightning_distill.data.folder.names import is_mask_folder, split_of
from lightning_distill.data.folder.table import list_table

pytestmark = pytest.mark.filterwarnings("ignore:.*(masks are|are left out|column of splits)")


def fill(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def times(count, *templates):
    return [template.format(n) for template in templates for n in range(1, count + 1)]


def counts(root, pattern=None):
    return Counter((entry.split, *entry.labels) for entry in list_folders(root, pattern))


BUSI = [*times(3, "benign/benign ({}).png", "benign/benign ({})_mask.png"), "benign/benign (2)_mask_1.png",
        *times(2, "malignant/malignant ({}).png", "malignant/malignant ({})_mask.png"),
        *times(2, "normal/normal ({}).png", "normal/normal ({})_mask.png")]  # fmt: skip
BUSI_COUNTS = {("train", "benign"): 3, ("train", "malignant"): 2, ("train", "normal"): 2}
CHEST = [*times(3, "train/NORMAL/IM-{:04d}-0001.jpeg", "train/PNEUMONIA/person{}_bacteria_2.jpeg"),
         *times(1, "val/NORMAL/NORMAL2-IM-{}.jpeg", "val/PNEUMONIA/person{}_virus_3.jpeg"),
         *times(2, "test/NORMAL/IM-{}.jpeg", "test/PNEUMONIA/person{}_virus_6.jpeg")]  # fmt: skip
CHEST_COUNTS = {(split, name): n for split, n in (("train", 3), ("val", 1), ("test", 2))
                for name in ("NORMAL", "PNEUMONIA")}  # fmt: skip


def under(prefix, paths):
    return [f"{prefix}/{path}" for path in paths]


READ = {
    "BUSI": (BUSI, BUSI_COUNTS),
    "BUSI in its folder": (under("Dataset_BUSI_with_GT", BUSI), BUSI_COUNTS),
    "Kaggle chest X-ray": (CHEST, CHEST_COUNTS),
    "Kaggle chest X-ray in its folder": (under("chest_xray", CHEST), CHEST_COUNTS),
    "Kaggle chest X-ray with metadata of a Mac": ([*CHEST, *under("__MACOSX", CHEST)], CHEST_COUNTS),
    "Kaggle brain tumour MRI": (
        ["Training/glioma/Tr-gl_0010.jpg", "Training/notumor/Tr-no_0010.jpg", "Testing/glioma/Te-gl_0010.jpg",
         "Testing/notumor/Te-no_0010.jpg"],
        {(split, name): 1 for split in ("train", "test") for name in ("glioma", "notumor")}),
    "ISIC of Kaggle": (
        under("Skin cancer ISIC The International Skin Imaging Collaboration",
              ["Train/melanoma/ISIC_0000139.jpg", "Train/nevus/ISIC_0000019.jpg", "Test/melanoma/ISIC_0000002.jpg",
               "Test/nevus/ISIC_0000008.jpg"]),
        {(split, name): 1 for split in ("train", "test") for name in ("melanoma", "nevus")}),
    "COVID-19 radiography database": (
        [*times(2, "COVID/images/COVID-{}.png", "COVID/masks/COVID-{}.png", "Normal/images/Normal-{}.png",
                "Normal/masks/Normal-{}.png"), "COVID.metadata.xlsx", "README.md.txt"],
        {("train", "COVID"): 2, ("train", "Normal"): 2}),
    "COVID-QU-Ex": (
        under("Infection Segmentation Data/Infection Segmentation Data",
              times(2, *(f"{split}/{name}/{kind}/x_{{}}.png" for split in ("Train", "Val", "Test")
                         for name in ("COVID-19", "Normal") for kind in ("images", "lung masks", "infection masks")))),
        {(split, name): 2 for split in ("train", "val", "test") for name in ("COVID-19", "Normal")}),
    "OCT2017": (
        under("OCT2017 ", ["train/CNV/CNV-1-1.jpeg", "train/DRUSEN/DRUSEN-1-1.jpeg", "test/CNV/CNV-2-1.jpeg",
                           "val/DRUSEN/DRUSEN-5-1.jpeg"]),
        {("train", "CNV"): 1, ("train", "DRUSEN"): 1, ("test", "CNV"): 1, ("val", "DRUSEN"): 1}),
    "BreakHis": (
        under("BreaKHis_v1/histology_slides/breast",
              ["benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png",
               "malignant/SOB/lobular_carcinoma/SOB_M_LC_14-12204/100X/SOB_M_LC-14-12204-100-001.png"]),
        {("train", "benign"): 1, ("train", "malignant"): 1}),
    "Intel scenes": (
        ["seg_train/seg_train/forest/1.jpg", "seg_train/seg_train/sea/2.jpg", "seg_test/seg_test/forest/3.jpg",
         "seg_test/seg_test/sea/4.jpg"],
        {(split, name): 1 for split in ("train", "test") for name in ("forest", "sea")}),
    "Kvasir v2": (times(2, "kvasir-dataset-v2/polyps/{}.jpg", "kvasir-dataset-v2/esophagitis/{}.jpg"),
                  {("train", "polyps"): 2, ("train", "esophagitis"): 2}),
    "classes with splits inside": (
        times(2, "ill/train/{}.png", "ill/test/{}.png", "healthy/train/{}.png", "healthy/Val_set/{}.png"),
        {("train", "ill"): 2, ("test", "ill"): 2, ("train", "healthy"): 2, ("val", "healthy"): 2}),
    "splits in images, beside masks": (
        times(1, *(f"{kind}/{split}/{name}/{{}}.png" for kind in ("images", "masks") for split in ("train", "test")
                   for name in ("a", "b"))),
        {(split, name): 1 for split in ("train", "test") for name in ("a", "b")}),
    "faces with and without a mask": (
        times(2, "with_mask/with_mask_{}.jpg", "without_mask/without_mask_{}.jpg"),
        {("train", "with_mask"): 2, ("train", "without_mask"): 2}),
    "masks of each class beside it": (
        times(2, "benign/{}.png", "benign_mask/{}.png", "malignant/{}.png", "malignant_mask/{}.png"),
        {("train", "benign"): 2, ("train", "malignant"): 2}),
    "train_images beside train_masks": (
        times(2, *(f"{split}/{name}/{{}}.png" for split in ("train_images", "train_masks", "test_images")
                   for name in ("a", "b"))),
        {(split, name): 2 for split in ("train", "test") for name in ("a", "b")}),
    "tr and te": (times(1, "tr/a/{}.png", "te/a/{}.png"), {("train", "a"): 1, ("test", "a"): 1}),
    "magnifications inside classes": (
        times(1, "ill/40X/{}.png", "ill/100X/{}.png", "well/40X/{}.png", "well/100X/{}.png"),
        {("train", "ill"): 2, ("train", "well"): 2}),
    "labels as numbers": (times(2, "label_0/{}.png", "label_1/{}.png"),
                          {("train", "label_0"): 2, ("train", "label_1"): 2}),
    "a folder for each image and mask": (
        times(2, "ill/{0}/image.png", "ill/{0}/mask.png", "healthy/{0}/image.png", "healthy/{0}/label.png"),
        {("train", "ill"): 2, ("train", "healthy"): 2}),
    "volumes and segmentations": (
        times(2, "ill/volume-{}.nii", "ill/segmentation-{}.nii", "healthy/volume-7{}.nii"),
        {("train", "ill"): 2, ("train", "healthy"): 2}),
    "grades as numbers": (times(2, "0/{}.png", "1/{}.png", "2/{}.png"), {("train", str(n)): 2 for n in range(3)}),
    "grades with a word": (times(2, "Grade 0/{}.png", "Grade 1/{}.png"),
                           {("train", "Grade 0"): 2, ("train", "Grade 1"): 2}),
    "skin lesions with segmentations and superpixels": (
        times(2, "nevus/ISIC_{}.jpg", "nevus/ISIC_{}_segmentation.png", "nevus/ISIC_{}_superpixels.png",
              "melanoma/ISIC_9{}.jpg", "melanoma/mask_ISIC_9{}.png"),
        {("train", "nevus"): 2, ("train", "melanoma"): 2}),
}  # fmt: skip


@pytest.mark.parametrize("layout", READ)
def test_layouts_that_are_read(tmp_path, layout):
    paths, expected = READ[layout]
    assert counts(fill(tmp_path, *paths)) == expected


@pytest.mark.parametrize(
    ("train", "test"),
    [("train_set", "test_set"), ("Train Set", "Test Set"), ("TRAIN_images", "TEST_images"), ("0_train", "1_test"),
     ("TRAIN", "TEST"), ("TrainSet", "TestSet"), ("trainset", "testset"), ("training-data", "testing-data"),
     ("train 256", "test 256"), ("img_train", "img_test"), ("chest_train", "chest_test"), ("Train", "Testing"),
     ("ISIC2018_Task3_Training_Input", "ISIC2018_Task3_Test_Input")],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", ["", "archive/data/"])
def test_names_of_splits(tmp_path, train, test, wrapped):
    paths = times(2, *(f"{wrapped}{split}/{name}/{{}}.png" for split in (train, test) for name in ("benign", "malig")))
    expected = {(split, name): 2 for split in ("train", "test") for name in ("benign", "malig")}
    assert counts(fill(tmp_path, *paths)) == expected


@pytest.mark.parametrize(
    "name", ["test_positive", "trained", "valve", "retest", "train_test", "healthy", "1", "contest"]
)
def test_names_that_are_no_splits(name):
    assert split_of(name) is None


@pytest.mark.parametrize("name", ["masks", "Mask", "lung masks", "SegmentationClass", "ground_truth", "labelsTr", "GT"])
def test_names_of_mask_folders(name):
    assert is_mask_folder(name)
    assert not any(map(is_mask_folder, ("with_mask", "no_mask", "masked", "images", "lung", "tumor", "left")))


REFUSED = {
    "BraTS": (
        times(2, *(f"{g}/Brats18_{g}_{{0}}_1/Brats18_{g}_{{0}}_1_{s}.nii.gz"
                   for g in ("HGG", "LGG") for s in ("flair", "t1", "t1ce", "t2", "seg"))),
        r"cases have several volumes each \(flair, t1, t1ce, t2\); choose one of them with pattern='\*_flair.nii\*'"),
    "BraTS 2020": (
        times(2, *(f"MICCAI_BraTS2020_TrainingData/BraTS20_Training_00{{0}}/BraTS20_Training_00{{0}}_{s}.nii"
                   for s in ("flair", "t1", "seg"))) + times(1, "MICCAI_BraTS2020_TrainingData/survival_info.csv"),
        "the folders 'BraTS20_Training_001', 'BraTS20_Training_002' are patients, not classes; .* give table, e.g. "
        "'MICCAI_BraTS2020_TrainingData/survival_info.csv'"),
    "BraTS 2023": (times(2, "BraTS-GLI-0000{0}-000/BraTS-GLI-0000{0}-000-t1c.nii.gz"), "are patients, not classes"),
    "patients": (times(3, "patient{:03d}/1.dcm"), "'patient001', 'patient002', 'patient003' are patients, not classes"),
    "HAM10000": (
        times(1, "HAM10000_images_part_1/ISIC_{}.jpg", "HAM10000_images_part_2/ISIC_9{}.jpg", "HAM10000_metadata.csv"),
        "'HAM10000_images_part_1', 'HAM10000_images_part_2' are parts of one set of images, not classes; give table, "
        "e.g. 'HAM10000_metadata.csv'"),
    "NIH ChestX-ray14": (
        [*times(3, "images_{0:03d}/images/0000000{0}_000.png"), "Data_Entry_2017.csv"],
        "'images_003' are parts of one set of images, not classes; give table, e.g. 'Data_Entry_2017.csv'"),
    "CheXpert": (
        ["train/patient00001/study1/view1_frontal.jpg", "train/patient00002/study2/view1_frontal.jpg",
         "valid/patient64541/study1/view1_frontal.jpg", "train.csv", "valid.csv"],
        "'patient00001', 'patient00002' are patients, not classes; .* give table, e.g. 'train.csv'"),
    "ISIC challenge": (
        ["ISIC2018_Task3_Training_Input/ISIC_1.jpg", "ISIC2018_Task3_Training_GroundTruth/GroundTruth.csv"],
        "has no images; .* set table='ISIC2018_Task3_Training_GroundTruth/GroundTruth.csv'"),
    "APTOS": (["train_images/a.png", "test_images/b.png", "train.csv"],
              "train_images has no class folders; .* or give table, e.g. 'train.csv'"),
    "Kvasir-SEG": (times(2, "images/{}.jpg", "masks/{}.jpg"), "root has the folder 'images' and no class folders"),
    "medical decathlon": (times(2, "imagesTr/la_{}.nii.gz", "labelsTr/la_{}.nii.gz"), "imagesTr has no class folders"),
    "YOLO": (times(1, "train/images/{}.jpg", "train/labels/{}.txt"), "train has the folder 'images' and no class"),
    "malaria": (
        times(1, "Parasitized/{}.png", "Uninfected/{}.png", "cell_images/Parasitized/{}.png",
              "cell_images/Uninfected/{}.png"),
        "the folder 'cell_images' holds a copy of the class folders beside it; remove it"),
    "Kaggle chest X-ray with its copy": (
        [*CHEST, *under("chest_xray", CHEST)],
        "a folder 'chest_xray' beside the split folders; chest_xray holds a copy of them; remove it"),
    "breast histopathology": (
        times(1, "8863/0/{}.png", "8863/1/{}.png", "8864/0/{}.png", "8864/1/{}.png"),
        "each of the folders '8863', '8864' has the folders '0', '1'; put these on top"),
    "DRIVE": (times(1, *(f"DRIVE/{split}/{kind}/{{}}.tif" for split in ("training", "test")
                         for kind in ("images", "mask", "1st_manual"))),
              "DRIVE/training has the folder 'images' and no class folders"),
    "Shenzhen chest X-ray": (times(2, "CXR_png/CHNCXR_{}_0.png", "masks/CHNCXR_{}_0.png"),
                             "root has the folder 'CXR_png' and no class folders"),
    "IDRiD": (["B. Disease Grading/1. Original Images/a. Training Set/IDRiD_001.jpg",
               "B. Disease Grading/1. Original Images/b. Testing Set/IDRiD_001.jpg",
               "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv"],
              "a. Training Set has no class folders"),
    "KiTS": (times(2, "case_0000{0}/imaging.nii.gz", "case_0000{0}/segmentation.nii.gz"), "are patients, not classes"),
    "TCGA": (times(2, "kaggle_3m/TCGA_CS_494{0}_19960909/TCGA_CS_494{0}_19960909_1.tif"), "are patients, not classes"),
    "ChestXDet": (["train_data/train_data/36.png", "test_data/test_data/1.png"],
                  "train_data has the folder 'train_data' and no class folders"),
    "splits and classes in one name": (
        times(1, "train_ill/{}.png", "train_well/{}.png", "test_ill/{}.png", "test_well/{}.png"),
        "'test_ill', 'test_well', 'train_ill' and 1 more name a split and a class each; make a folder per split"),
    "magnifications": (times(1, "40X/ill/{}.png", "40X/well/{}.png", "100X/ill/{}.png", "100X/well/{}.png"),
                       "each of the folders '100X', '40X' has the folders 'ill', 'well'; put these on top"),
    "sources": (times(1, "Original/a/{}.png", "Original/b/{}.png", "Augmented/a/{}.png", "Augmented/b/{}.png"),
                "each of the folders 'Augmented', 'Original' has the folders 'a', 'b'; put these on top"),
    "LIDC": (times(2, "LIDC-IDRI/LIDC-IDRI-000{}/1.dcm"), "are patients, not classes"),
    "ACDC": (times(2, "training/patient00{0}/patient00{0}_frame01.nii.gz", "testing/patient10{0}/a.nii.gz"),
             "'patient001', 'patient002' are patients, not classes"),
    "C-NMC leukemia": (times(1, "C-NMC_Leukemia/training_data/fold_0/all/{}.png",
                             "C-NMC_Leukemia/training_data/fold_1/hem/{}.png"), "'fold_0', 'fold_1' are folds"),
    "folds": (times(1, "fold1/a/{}.png", "fold2/a/{}.png"), "are folds of a cross-validation; set root to one of them"),
    "splits of one class only": (times(1, "ill/train/{}.png", "healthy/{}.png"),
                                 "the class folder ill has split folders and healthy has other files"),
    "masks only": (times(1, "ill/{}_mask.png", "healthy/{}.png"), "the class 'ill' has masks only; add its images"),
    "Intel scenes with the unlabelled": (
        ["seg_train/forest/1.jpg", "seg_test/forest/2.jpg", "seg_pred/3.jpg"],
        "a folder 'seg_pred' beside the split folders; move it out of root"),
}  # fmt: skip


@pytest.mark.parametrize("layout", REFUSED)
def test_layouts_that_are_refused(tmp_path, layout):
    paths, message = REFUSED[layout]
    with pytest.raises(ValueError, match=message) as caught:
        list_folders(fill(tmp_path, *paths))
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_sequence_and_masks_are_read_when_asked_for(tmp_path):
    root = fill(tmp_path, *REFUSED["BraTS"][0])
    expected = {("train", "HGG"): 2, ("train", "LGG"): 2}
    for pattern in ("*_flair.nii*", "*_T1.nii.gz", "*_seg.nii.gz"):
        assert counts(root, pattern) == expected
        word = pattern[2:].split(".")[0].lower()
        assert all(entry.path.endswith(f"_{word}.nii.gz") for entry in list_folders(root, pattern))
    with pytest.raises(ValueError, match=r"has no images that match pattern='\*_pd.nii'; correct pattern"):
        list_folders(root, "*_pd.nii")
    busi = fill(tmp_path / "busi", *BUSI)
    assert counts(busi, "*_mask*") == {("train", "benign"): 4, ("train", "malignant"): 2, ("train", "normal"): 2}
    assert counts(busi, "*.png") == BUSI_COUNTS
    with pytest.warns(UserWarning, match=r"8 masks are left out; pattern='\*mask\*'"):
        list_folders(busi)


def test_patient_folders_below_classes_are_patients(tmp_path):
    fill(tmp_path, *times(2, "ill/patient_{}/series_1/1.dcm", "well/patient_{}/2.dcm"), "well/patient_7/3.dcm")
    patients = {entry.path: entry.patient for entry in list_folders(tmp_path)}
    assert patients == {"ill/patient_1/series_1/1.dcm": 0, "well/patient_1/2.dcm": 0, "well/patient_7/3.dcm": 2,
                        "ill/patient_2/series_1/1.dcm": 1, "well/patient_2/2.dcm": 1}  # fmt: skip
    fill(tmp_path, "well/loose.dcm")
    assert {entry.patient for entry in list_folders(tmp_path)} == {None}


def test_masks_are_known_by_their_image():
    beside = ["a/1.png", "a/1_gt.png", "a/2_gt.png", "a/off_label_3.png", "a/x.png"]
    assert find_masks(beside, 1) == {"a/1_gt.png"}
    joined = ["a/1.png", "a/1mask.png", "a/2mask.png", "a/x7.png", "a/x7Mask.png", "a/maskx7.png", "a/unmask.png"]
    assert find_masks(joined, 1) == {"a/1mask.png", "a/x7Mask.png", "a/maskx7.png"}


def png(path, seed=0, colour=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (6, 7, 3) if colour else (6, 7)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path)


def test_the_hint_about_colour_does_not_lead_to_masks(tmp_path):
    for seed, path in enumerate(BUSI):
        png(tmp_path / path, seed, colour="mask" not in path)
    data = FolderDataModule(tmp_path, val_fraction=0.4, pattern=None)
    data.setup()
    assert (data.spec.class_names, data.spec.shape) == (("benign", "malignant", "normal"), (3, 6, 7))
    assert sum(len(labels) for _, labels in data.splits.values()) == 7
    assert data.reproducible_args == {}
    masks = FolderDataModule(tmp_path, val_fraction=0.4, pattern="*mask*")
    assert (masks.spec.shape, masks.reproducible_args) == ((1, 6, 7), {"pattern": "*mask*"})
    with pytest.raises(ValueError, match="pattern='x' is for class folders, and table names its files; remove one"):
        FolderDataModule(tmp_path, pattern="x", table="t.csv")


def test_brats_volumes_are_read(tmp_path):
    for path in REFUSED["BraTS"][0]:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.random.default_rng(0).integers(0, 99, (6, 6, 6)).astype(np.uint8), np.eye(4)),
                 tmp_path / path)  # fmt: skip
    data = FolderDataModule(tmp_path, pattern="*_t1ce.nii.gz", val_fraction=0.5)
    data.setup()
    assert {split: np.bincount(labels).tolist() for split, (_, labels) in data.splits.items()} == {
        "train": [1, 1], "val": [1, 1]}  # fmt: skip


def write(root, name, header, *rows):
    (root / name).write_text("\n".join([header, *rows, ""]))
    return root / name


HAM = ("lesion_id,image_id,dx,dx_type,age,sex,localization", "L1,ISIC_1,bkl,histo,80,male,scalp",
       "L1,ISIC_2,bkl,histo,80,male,scalp", "L2,ISIC_3,mel,histo,50,male,back")  # fmt: skip
NIH = ("Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age", "00000001_000.png,Cardiomegaly,0,1,58",
       "00000001_001.png,Cardiomegaly|Emphysema,1,1,58", "00000002_000.png,No Finding,0,2,81")  # fmt: skip
CHEXPERT = ("Path,Sex,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
            "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices",
            "CheXpert-v1.0-small/train/patient00001/study1/view1.jpg,F,,1.0,0.0,,,,,,,1.0,,,",
            "CheXpert-v1.0-small/train/patient00002/study1/view1.jpg,F,,,,,-1.0,,,,,,,,1.0")  # fmt: skip
CHEXPERT_LABELS = CHEXPERT[0].removeprefix("Path,Sex,").replace(",", "|")


def named(message):
    """The columns that a message recommends."""
    import re

    return Columns(**dict(re.findall(r"columns\.(\w+)='([^']*)'", message)))


@pytest.mark.parametrize(("name", "table", "files", "expected"), [
    ("HAM10000", HAM, ["HAM10000_images_part_1/ISIC_1.jpg", "HAM10000_images_part_1/ISIC_2.jpg",
                       "HAM10000_images_part_2/ISIC_3.jpg"],
     [(("bkl",), 0), (("bkl",), 0), (("mel",), 1)]),
    ("NIH ChestX-ray14", NIH, ["images_001/images/00000001_000.png", "images_001/images/00000001_001.png",
                               "images_002/images/00000002_000.png"],
     [(("Cardiomegaly",), 0), (("Cardiomegaly", "Emphysema"), 0), ((), 1)]),
    ("ISIC 2018", ("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", "ISIC_1,0.0,1.0,0.0,0.0,0.0,0.0,0.0",
                   "ISIC_2,1.0,0.0,0.0,0.0,0.0,0.0,0.0"),
     ["ISIC2018_Task3_Training_Input/ISIC_1.jpg", "ISIC2018_Task3_Training_Input/ISIC_2.jpg"],
     [(("NV",), None), (("MEL",), None)]),
    ("APTOS 2019", ("id_code,diagnosis", "a1,0", "b2,4"), ["train_images/a1.png", "train_images/b2.png"],
     [(("0",), None), (("4",), None)]),
    ("PAD-UFES-20", ("patient_id,lesion_id,img_id,diagnostic", "P1,1,P1_1.png,NEV", "P2,2,P2_1.png,BCC"),
     ["images/imgs_part_1/P1_1.png", "images/imgs_part_2/P2_1.png"], [(("NEV",), 0), (("BCC",), 1)]),
    ("ISIC 2020", ("image_name,patient_id,sex,diagnosis,benign_malignant,target", "I1,P1,m,nevus,benign,0",
                   "I2,P1,m,melanoma,malignant,1"),
     ["jpeg/train/I1.jpg", "jpeg/train/I2.jpg"], [(("benign",), 0), (("malignant",), 0)]),
])  # fmt: skip
def test_public_tables_are_named_and_read_with_the_arguments_of_the_message(tmp_path, name, table, files, expected):
    fill(tmp_path, *files)
    path = write(tmp_path, "t.csv", *table)
    with pytest.raises(ValueError, match=f"its columns are those of {name}: set columns.path=") as caught:
        list_table(tmp_path, path, Columns())
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out
        entries = list_table(tmp_path, path, named(str(caught.value)))
    assert [(entry.labels, entry.patient) for entry in entries] == expected
    assert [entry.path for entry in entries] == files[: len(entries)]


def test_chexpert(tmp_path):
    (tmp_path / "CheXpert-v1.0-small").mkdir()
    root = tmp_path / "CheXpert-v1.0-small"
    fill(root, "train/patient00001/study1/view1.jpg", "train/patient00002/study1/view1.jpg")
    path = write(root, "train.csv", *CHEXPERT)
    with pytest.raises(
        ValueError, match=r"of CheXpert: set columns.path='Path', .*; columns.uncertain=0 or 1 replaces"
    ):
        list_table(root, path, Columns())
    columns = Columns(path="Path", label=CHEXPERT_LABELS)
    with pytest.raises(ValueError, match=r"line 3 has -1 in 'Edema', an uncertain label; set columns.uncertain to 0"):
        list_table(root, path, columns)
    for uncertain, last in ((0, ("Support Devices",)), (1, ("Edema", "Support Devices"))):
        columns = Columns(path="Path", label=CHEXPERT_LABELS, uncertain=uncertain)
        for below in (root, tmp_path):  # the paths of the table begin above the folder of the table
            entries = list_table(below, path, columns)
            assert [entry.labels for entry in entries] == [("Cardiomegaly", "Pleural Effusion"), last]
            assert all(Path(below, entry.path).is_file() for entry in entries)
    with pytest.raises(ValueError, match="uncertain=2; it must be 0 or 1"):
        Columns(uncertain=2)


@pytest.mark.parametrize(("files", "cell", "message"), [
    (["a/1.png", "b/1.png"], "1", r"lists '1', which fits 'a/1.png', 'b/1.png'; give the path in the table"),
    (["a/1.png", "a/1.jpg"], "1", r"lists '1', which fits 'a/1.jpg', 'a/1.png'"),
    (["a/1.png", "b/2.png"], "b/1.png", r"lists 'b/1.png', not found below root, in no folder and with no suffix"),
    (["a/1_mask.png", "a/1.png"], "2", r"lists '2', not found below root"),
])  # fmt: skip
def test_cells_that_name_no_file_or_several(tmp_path, files, cell, message):
    fill(tmp_path, *files)
    with pytest.raises(ValueError, match=message):
        list_table(tmp_path, write(tmp_path, "t.csv", "path,label", f"{cell},ill"), Columns())


def test_a_cell_names_the_image_and_not_its_mask(tmp_path):
    fill(tmp_path, "a/1.png", "masks/1.png", "a/2.png", "a/2_mask.png")
    path = write(tmp_path, "t.csv", "path,label", "1,ill", "2,ill")
    assert [entry.path for entry in list_table(tmp_path, path, Columns())] == ["a/1.png", "a/2.png"]


def test_zero_one_columns_are_checked(tmp_path):
    fill(tmp_path, "1.png", "2.png")
    path = write(tmp_path, "t.csv", "path,a,b", "1.png,1,0", "2.png,0,yes")
    with pytest.raises(ValueError, match=r"t.csv, line 3 has a cell in 'b' that is not 0 or 1; correct columns.label"):
        list_table(tmp_path, path, Columns(label="a|b"))
    with pytest.raises(ValueError, match=r"t.csv has no column 'c', only path, a, b"):
        list_table(tmp_path, path, Columns(label="a|c"))


def test_lists_of_splits_beside_a_table_are_not_passed_over(tmp_path):
    fill(tmp_path, "images_001/00000001_000.png", "images_001/00000001_001.png", "images_001/00000002_000.png",
         "train_val_list.txt", "test_list.txt", "README.txt")  # fmt: skip
    columns = Columns(path="Image Index", label="Finding Labels", patient="Patient ID")
    with pytest.warns(
        UserWarning, match=r"has no column of splits, and 'test_list.txt', 'train_val_list.txt' may list"
    ):
        list_table(tmp_path, write(tmp_path, "Data_Entry_2017.csv", *NIH), columns)


def test_a_table_may_name_masks_as_images(tmp_path):
    fill(tmp_path, *BUSI)
    path = write(tmp_path, "t.csv", "path,label", "benign/benign (1)_mask.png,benign", "normal/normal (1).png,normal")
    assert list_table(tmp_path, path, Columns())[0].path == "benign/benign (1)_mask.png"
