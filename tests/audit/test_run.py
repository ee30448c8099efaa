"""``audit-data``: each check finds what was planted, and nothing in clean data."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from conftest import blobs
from PIL import Image, ImageDraw, ImageFont

from lightning_distill import ArrayDataModule, MedMNISTDataModule
from lightning_distill.audit import audit, total_work
from lightning_distill.audit.near_duplicates import controls_of, matches_of_controls
from lightning_distill.audit.similarity import ImageSimilarity, nearest
from lightning_distill.audit.transforms import families
from lightning_distill.cli import main
from lightning_distill.data.checks.groups import number_groups

COPY, TWICE, TORN = (
    "the same image in two splits",
    "the same image twice in one split",
    "the same image with different labels",
)
NEARLY, PATIENT = "nearly the same image in two splits", "a patient or lesion in two splits"
ABSENT, NAMELESS = "a class without images in a split", "a label without a class"
EMPTY, WRITING = "constant images", "writing in the image (suspicion)"


def smooth(count, side=28, channels=1, seed=0):
    """Random pictures ``(N, C, H, W)`` uint8 with as much structure as photographs: a few waves each."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    frequency = random.uniform(-14, 14, (count, channels, 12, 2, 1, 1))
    phase = random.uniform(0, 7, (count, channels, 12, 1, 1))
    pictures = np.sin(frequency[:, :, :, 0] * x + frequency[:, :, :, 1] * y + phase).sum(2)
    low, high = pictures.min((1, 2, 3), keepdims=True), pictures.max((1, 2, 3), keepdims=True)
    return np.round(20 + 200 * (pictures - low) / (high - low)).astype(np.uint8)


@pytest.fixture
def clean():
    """Splits of 120, 30 and 40 different pictures of three classes."""
    splits = {}
    for seed, (split, count) in enumerate({"train": 120, "val": 30, "test": 40}.items()):
        splits[split] = smooth(count, seed=seed), np.arange(count) % 3
    return splits


def run_audit(splits, groups=None, names=("ant", "bee", "cat"), **options):
    """What the audit finds, by check."""
    data = ArrayDataModule(**splits, channels="first", groups=groups, class_names=names)
    return {finding.check: finding for finding in audit(data.load_splits(), **options)}


def wrong(findings):
    return {check for check, finding in findings.items() if finding.status in ("blocks", "warns")}


def places(finding):
    return [str(place) for place in finding.places]


def test_nothing_is_found_in_clean_data(clean):
    groups = {split: [f"{split}{row // 2}" for row in range(len(labels))] for split, (_, labels) in clean.items()}
    findings = run_audit(clean, groups)
    assert wrong(findings) == set()
    assert findings[PATIENT].status == "ok"
    assert findings[PATIENT].found == "none: 60 groups in train, 15 groups in val, 20 groups in test"
    assert findings[WRITING].status == "unknown"
    assert "28x28 pixels are too few; the check needs 96" in findings[WRITING].found


def test_copies_in_two_splits_block(clean):
    clean["test"][0][[3, 7]] = clean["train"][0][[11, 12]]
    clean["test"][1][[3, 7]] = clean["train"][1][[11, 12]]
    clean["val"][0][5], clean["val"][1][5] = clean["train"][0][11], clean["train"][1][11]
    findings = run_audit(clean)
    assert wrong(findings) == {COPY}
    assert (findings[COPY].status, findings[COPY].count) == ("blocks", 3)
    assert places(findings[COPY]) == ["val 5 = train 11", "test 3 = train 11", "test 7 = train 12", "test 3 = val 5"]


def test_copies_in_one_split_warn(clean):
    images, labels = clean["train"]
    images[[50, 90]], labels[[50, 90]] = images[20], labels[20]
    findings = run_audit(clean)
    assert wrong(findings) == {TWICE}
    assert (findings[TWICE].status, findings[TWICE].count) == ("warns", 2)
    assert places(findings[TWICE]) == ["train 50 = train 20", "train 90 = train 20"]


@pytest.mark.parametrize(("split", "row", "status"), [("train", 50, "warns"), ("test", 1, "blocks")])
def test_one_image_with_two_labels_is_told(clean, split, row, status):
    clean[split][0][row], clean[split][1][row] = clean["train"][0][20], (clean["train"][1][20] + 1) % 3
    findings = run_audit(clean)
    assert wrong(findings) == {TORN, TWICE if split == "train" else COPY}
    assert (findings[TORN].status, findings[TORN].count) == (status, 1)
    assert places(findings[TORN]) == [f"{split} {row} = train 20"]


def noisy(image):
    return image + np.random.default_rng(0).integers(-6, 7, image.shape)


def compressed(image):
    packed = io.BytesIO()
    Image.fromarray(image[0].astype(np.uint8)).save(packed, "JPEG", quality=50)
    return np.asarray(Image.open(packed))[None]


@pytest.mark.parametrize(
    "change",
    [noisy, lambda image: image * 0.8 + 20, compressed],
    ids=["noise", "contrast", "JPEG"],
)
def test_near_copies_are_found(clean, change):
    clean["test"][0][3] = np.clip(change(clean["train"][0][11].astype(float)), 0, 255).astype(np.uint8)
    findings = run_audit(clean)
    assert wrong(findings) == {NEARLY}
    assert places(findings[NEARLY]) == ["test 3 ~ train 11"]
    assert findings[NEARLY].places[0].value > 0.95
    assert findings[NEARLY].found.startswith(
        "1 of 70 later images (1.4 %) at similarity 0.95 or more, 1 with another label"
    )
    assert wrong(run_audit(clean, near=1.0)) == set()


def shifted(image, down, right):
    """What lies at the border is repeated where nothing was."""
    moves = zip(image.shape[1:], (down, right), strict=True)
    rows, columns = (np.clip(np.arange(size) - by, 0, size - 1) for size, by in moves)
    return image[:, rows][:, :, columns]


def turned(image, degrees):
    """Clockwise; pillow turns the other way."""
    return np.array(Image.fromarray(image[0]).rotate(-degrees))[None]


MOVED = {
    "mirrored left-right": lambda image: image[:, :, ::-1],
    "mirrored up-down": lambda image: image[:, ::-1],
    "turned by 180": lambda image: image[:, ::-1, ::-1],
    "turned by 90": lambda image: turned(image, 90),
    "turned by 270": lambda image: turned(image, 270),
    "mirrored left-right and turned by 90": lambda image: turned(image[:, :, ::-1], 90),
    "mirrored left-right and turned by 270": lambda image: turned(image[:, :, ::-1], 270),
    "shifted by 2 px down": lambda image: shifted(image, 2, 0),
    "shifted by 3 px left": lambda image: shifted(image, 0, -3),
    "shifted by 2 px up and 3 px right": lambda image: shifted(image, -2, 3),
}


@pytest.mark.parametrize("kind", MOVED)
def test_mirrored_turned_and_shifted_copies_are_found_and_named(clean, kind):
    clean["test"][0][3] = MOVED[kind](clean["train"][0][11])
    clean["val"][0][7] = MOVED[kind](clean["train"][0][30] // 2 + 20)
    findings = run_audit(clean)
    assert wrong(findings) == {NEARLY}
    assert sorted(places(findings[NEARLY])) == [f"test 3 ~ train 11 {kind}", f"val 7 ~ train 30 {kind}"]
    assert "2 mirrored, rotated or shifted" in findings[NEARLY].found


def test_shifts_are_told_in_pixels_of_the_image_and_images_may_be_of_any_shape(clean):
    splits = {split: (smooth(len(labels), 56, 1, n), labels) for n, (split, (_, labels)) in enumerate(clean.items())}
    splits["test"][0][3] = shifted(splits["train"][0][11], 4, -6)
    assert places(run_audit(splits)[NEARLY]) == ["test 3 ~ train 11 shifted by 4 px down and 6 px left"]
    flat = {split: (images[:, :, :12], labels) for split, (images, labels) in splits.items()}
    flat["val"][0][2] = flat["train"][0][5][:, ::-1]
    assert "val 2 ~ train 5 mirrored up-down" in places(run_audit(flat)[NEARLY])
    assert [len(family.views) for family in families(28, 28)] == [1, 7, 48]
    assert [len(family.views) for family in families(224, 224)] == [1, 7, 48]
    assert [len(family.views) for family in families(12, 56)] == [1, 3, 20]
    assert [len(family.views) for family in families(8, 8)] == [1, 7]


def test_a_copy_as_it_lies_goes_before_a_move(clean):
    half = clean["train"][0][11]
    clean["train"][0][11] = half | half[:, :, ::-1]  # its own mirror image
    clean["test"][0][3] = clean["train"][0][11] // 2
    assert places(run_audit(clean)[NEARLY]) == ["test 3 ~ train 11"]


def test_too_many_near_copies_block(clean):
    clean["test"][0][[3, 4]] = clean["train"][0][[11, 12], :, ::-1]
    findings = run_audit(clean, max_near=0.05)  # 2 of 40
    assert findings[NEARLY].status == "warns"
    findings = run_audit(clean, max_near=0.049)
    assert findings[NEARLY].status == "blocks"
    assert "5 % of test, more than max_near=0.049: split again, or remove them" in findings[NEARLY].found
    assert "of val" not in findings[NEARLY].found
    assert run_audit(clean)[NEARLY].status == "blocks"
    assert run_audit(clean, max_near=1)[NEARLY].status == "warns"
    assert run_audit(clean, near=1.0, max_near=0)[NEARLY].status == "blocks"  # mirror images byte by byte
    clean["val"] = clean["train"][0][: len(clean["val"][0]), :, ::-1], clean["val"][1]
    assert "; 100 % of val, more than max_near=0.01" in run_audit(clean)[NEARLY].found


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(clean, share):
    with pytest.raises(ValueError, match=r"max_near=.*; it must be in \[0, 1\]"):
        run_audit(clean, max_near=share)


def test_chance_is_told_where_patients_are_known(clean):
    images = np.concatenate([clean["train"][0]] * 2)
    family, likeness = families(28, 28)[0], ImageSimilarity(images)
    pool = np.concatenate(list(likeness.features(images)))

    def hits(groups):
        controls = controls_of(groups)
        return matches_of_controls(likeness, family, pool, images[controls], groups, controls, 0.95)

    assert hits(np.arange(240) % 120).mean() == 0
    assert hits(np.arange(240)).mean() == 1
    assert len(controls_of(np.zeros(240, int))) == 0
    patients = {split: [f"{split}{row}" for row in range(len(labels))] for split, (_, labels) in clean.items()}
    assert "chance level in train: 0 %" in run_audit(clean, patients)[NEARLY].found
    clean["train"][0][7] = clean["train"][0][8][:, ::-1]
    assert "chance level in train: 1.7 %" in run_audit(clean, patients)[NEARLY].found  # two of 120


def test_neighbours_are_those_of_plain_loops():
    random = np.random.default_rng(0)
    pool, queries = (random.normal(size=(count, 5)).astype(np.float32) for count in (30, 7))
    pool, queries = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (pool, queries))
    groups, own = np.arange(30) // 3, np.arange(7)
    for pair in ((), (groups, own)):
        rows, values = nearest(pool, queries, *pair)
        for number, (query, row, value) in enumerate(zip(queries, rows, values, strict=True)):
            cosines = [float(np.dot(query, other)) for other in pool]
            allowed = [i for i in range(30) if not pair or groups[i] != own[number]]
            assert row == max(allowed, key=lambda i: cosines[i])
            assert value == pytest.approx(cosines[row], abs=1e-5)


def test_likeness_is_the_formula_of_its_docstring():
    images = smooth(40, channels=3)
    features = np.concatenate(list(ImageSimilarity(images).features(images)))
    rows = []
    for image in images.astype(np.float64):
        small = image.reshape(3, 14, 2, 14, 2).mean((2, 4))
        small = (small - small.mean((1, 2), keepdims=True)).ravel()
        rows.append(small / np.sqrt((small**2).sum()))
    centred = np.stack(rows) - np.mean(rows, axis=0)
    _, singular, components = np.linalg.svd(centred, full_matrices=False)
    deviations = singular[:39] / np.sqrt(39)
    expected = centred @ components[:39].T / np.sqrt(deviations)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(features @ features.T, expected @ expected.T, atol=1e-3)


def test_patients_in_two_splits_block_and_are_not_named(clean):
    patients = {split: [f"{split}-{row // 2}" for row in range(len(labels))] for split, (_, labels) in clean.items()}
    patients["test"][4] = "train-3"
    findings = run_audit(clean, patients)
    assert wrong(findings) == {PATIENT}
    assert (findings[PATIENT].status, findings[PATIENT].count) == ("blocks", 1)
    assert findings[PATIENT].found.startswith("train and test share 1 group (patients or lesions): 2 of train's images")
    assert places(findings[PATIENT]) == ["test 4"]
    assert "train-3" not in str(findings)


def test_patients_that_only_some_splits_name_are_unknown(clean):
    for groups, message in (({"train": np.arange(120)}, "only train has"), (None, "the data have no patient groups")):
        finding = run_audit(clean, groups)[PATIENT]
        assert finding.status == "unknown"
        assert finding.found.startswith(message)


@pytest.mark.parametrize(("split", "status"), [("train", "blocks"), ("val", "warns"), ("test", "warns")])
def test_a_class_without_images_is_named(clean, split, status):
    images, labels = clean[split]
    clean[split] = images, np.where(labels == 1, 0, labels)
    findings = run_audit(clean)
    assert wrong(findings) == {ABSENT}
    assert (findings[ABSENT].status, findings[ABSENT].found) == (status, f"{split} has no 'bee'")


def test_a_label_that_no_class_has_blocks(clean):
    clean["test"][1][8] = 4
    findings = run_audit(clean)
    assert wrong(findings) == {ABSENT, NAMELESS}
    assert places(findings[NAMELESS]) == ["test 8"]


def test_images_of_one_value_are_told_once_and_are_no_copies(clean):
    clean["train"][0][[4, 9]] = 77
    clean["test"][0][2] = 77
    findings = run_audit(clean)
    assert wrong(findings) == {EMPTY}
    assert places(findings[EMPTY]) == ["train 4", "train 9", "test 2"]


def test_a_colour_image_of_one_colour_has_nothing_on_it(clean):
    splits = {
        split: (smooth(len(labels), 8, 3, seed), labels) for seed, (split, (_, labels)) in enumerate(clean.items())
    }
    splits["train"][0][5] = np.array([200, 100, 50])[:, None, None]
    assert places(run_audit(splits)[EMPTY]) == ["train 5"]


@pytest.mark.parametrize("channels", [1, 3])
def test_letters_are_suspected_and_waves_are_not(channels):
    splits = {}
    for seed, split in enumerate(("train", "val", "test")):
        splits[split] = smooth(12, 128, channels, seed) // 2, np.arange(12) % 3
    picture = Image.fromarray(splits["test"][0][4][0])
    ImageDraw.Draw(picture).text((10, 100), "LEFT 1947", 255, ImageFont.load_default(10))
    splits["test"][0][4] = np.asarray(picture)
    findings = run_audit(splits)
    assert wrong(findings) == {WRITING}
    assert places(findings[WRITING]) == ["test 4"]
    assert "may contain burnt-in text" in findings[WRITING].found


def test_targets_of_several_classes_are_audited(clean):
    random = np.random.default_rng(0)
    splits = {split: (images, random.integers(0, 2, (len(images), 3))) for split, (images, _) in clean.items()}
    assert wrong(run_audit(splits)) == set()
    splits["train"][1][:, 2] = 0
    splits["test"][0][3], splits["test"][1][3] = splits["train"][0][1], 1 - splits["train"][1][1]
    assert wrong(run_audit(splits)) == {ABSENT, COPY, TORN}


def test_floats_one_split_and_the_ticks(clean):
    images, labels = clean["train"]
    data = ArrayDataModule((images / np.float32(255), labels), channels="first")
    seen = []
    findings = audit(data.load_splits(), on_progress=seen.append)
    assert {finding.check: finding.status for finding in findings}[NEARLY] == "unknown"
    assert sum(seen) == total_work(data.load_splits()) - 120  # writing is not looked for in small images


@pytest.mark.parametrize("near", [0, 1.01, -1])
def test_a_threshold_that_is_none_is_refused(clean, near):
    with pytest.raises(ValueError, match=r"near=.*; it must be in \(0, 1\]"):
        run_audit(clean, near=near)


def test_splits_that_do_not_belong_together_are_refused(clean):
    clean["val"] = smooth(5, 32), np.arange(5) % 3
    with pytest.raises(ValueError, match=r"val images are \(1, 32, 32\) but train images \(1, 28, 28\)"):
        run_audit(clean)


@pytest.fixture
def file(tmp_path, monkeypatch, clean):
    """An npz file with one patient in two splits, and the arguments that name it."""
    monkeypatch.chdir(tmp_path)
    arrays = {}
    for split, (images, labels) in clean.items():
        arrays |= {f"{split}_images": images[:, 0], f"{split}_labels": labels}
        arrays[f"{split}_patient_id"] = np.array([f"SECRET-{split}-{row}" for row in range(len(labels))])
    arrays["test_patient_id"][0] = "SECRET-train-7"

    def write(**changes):
        np.savez(tmp_path / "ward.npz", **{**arrays, **changes})
        return ["audit-data", "--data=NpzDataModule", "--data.path=ward.npz"]

    return write


def test_what_blocks_is_the_exit_status_and_everything_is_in_the_csv(file, tmp_path, capsys):
    with pytest.raises(SystemExit) as done:
        main([*file(), "--out=audit.csv"])
    assert done.value.code == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "blocks" in shown
    assert "test 0" in shown
    text = (tmp_path / "audit.csv").read_text()
    assert "SECRET" not in shown + text
    assert str(tmp_path) not in shown + text
    with (tmp_path / "audit.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["check"], row["status"], row["split"], row["row"]) for row in rows[:2]] == [
        (PATIENT, "blocks", "", ""),
        (PATIENT, "blocks", "test", "0"),
    ]
    assert rows[0]["command"] == "lightning-distill audit-data --data NpzDataModule"
    assert {row["dataset"] for row in rows} == {"npz"}


def test_clean_files_pass_and_words_for_overlaps_change_nothing(file, capsys):
    disjoint = {"test_patient_id": np.array([f"t{row}" for row in range(40)])}
    main([*file(**disjoint), "--near", "0.9"])
    assert "blocks" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as done:
        main([*file(), "--data.on_overlap=drop"])
    assert done.value.code == 1


def test_the_gate_for_near_copies_is_the_exit_status_and_in_the_csv(file, tmp_path, clean):
    images = clean["test"][0][:, 0].copy()
    images[5] = clean["train"][0][9, 0].T
    words = file(test_images=images, test_patient_id=np.array([f"t{row}" for row in range(40)]))
    main([*words, "--max_near=0.03"])
    with pytest.raises(SystemExit) as done:
        main([*words, "--max_near=0.02", "--out=audit.csv"])
    assert done.value.code == 1
    with (tmp_path / "audit.csv").open() as lines:
        rows = [row for row in csv.DictReader(lines) if row["check"] == NEARLY]
    assert [row["kind"] for row in rows] == ["", "mirrored left-right and turned by 270"]
    assert "2.5 % of test, more than max_near=0.02" in rows[0]["found"]
    assert rows[0]["max_near"] == "0.02"
    assert rows[0]["command"].endswith("--max_near 0.02")


def test_a_file_without_val_says_how_it_will_be_carved_out(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    images, labels = blobs(2, 12)
    np.savez("x.npz", train_images=images, train_labels=labels)
    main(["audit-data", "--data=NpzDataModule", "--data.path=x.npz"])
    assert "split off from train by single images" in " ".join(capsys.readouterr().out.split())


def test_bad_input_is_one_line(file, capsys):
    with pytest.raises(SystemExit) as done:
        main([*file(), "--near=2"])
    assert done.value.code == 2
    assert "near=2" in capsys.readouterr().err
    with pytest.raises(SystemExit) as done:
        main([*file(), "--out=/proc/nowhere/audit.csv"])
    assert done.value.code == 2


def test_the_real_breast_file_has_the_leaks_that_eyes_have_seen(real_medmnist):
    data = MedMNISTDataModule("breastmnist", root=str(real_medmnist), download=False)
    findings = {finding.check: finding for finding in audit(data.load_splits())}
    assert places(findings[COPY]) == places(findings[TORN]) == ["test 76 = train 115"]
    assert 80 <= findings[NEARLY].count <= 100
    data = MedMNISTDataModule("breastmnist", size=128, root=str(real_medmnist), download=False)
    findings = {finding.check: finding for finding in audit(data.load_splits())}
    suspects = places(findings[WRITING])
    assert 40 <= len(suspects) <= 80
    assert suspects[0] == "train 541"  # "LEFT BREAST"


def test_the_real_derma_file_has_no_lesion_in_two_splits_and_next_to_no_near_copies(real_medmnist):
    data = MedMNISTDataModule("dermamnist", root=str(real_medmnist), download=False)
    raw = data.load_splits()  # every third image: all of them take half a minute
    splits = {split: (images[::3], labels[::3]) for split, (images, labels) in raw.splits.items()}
    raw = replace(raw, splits=splits, groups={split: rows[::3] for split, rows in raw.groups.items()})
    findings = {finding.check: finding for finding in audit(raw)}
    assert {check: finding.status for check, finding in findings.items() if finding.status == "blocks"} == {}
    assert findings[NEARLY].count <= 2
    assert "chance level in train: 0 %" in findings[NEARLY].found
    images, groups = raw.splits["train"][0], raw.groups["train"]
    features = np.concatenate(list(ImageSimilarity(images).features(images)))
    same = features @ features[:1].T  # one column is enough to see that nothing is degenerate
    assert abs(float(np.median(same))) < 0.2
    assert number_groups({"train": groups})["train"].max() == len(np.unique(groups)) - 1
