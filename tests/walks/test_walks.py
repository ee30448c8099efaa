"""Three newcomers from an empty folder to their end, in a fresh environment: run by ``pytest -m walk tests/walks``."""

from __future__ import annotations

import re

import pytest
import yaml
from conftest import REAL
from walks.people import METHOD, PROJECT, SWEEP, images_of_two_classes, write_class_folders, write_scans

from lightning_distill import load_set

pytestmark = [pytest.mark.walk, pytest.mark.timeout(3600), pytest.mark.xdist_group("walks")]
#: Data of the researcher, in each command of hers.
SCANS = "--data FolderDataModule --data.root scans --data.test_fraction 0.2"


def test_a_researcher_from_scans_to_a_receivers_network(start_walk):
    """200 PNG files and a table of patients become a set, a report, an audit, and a network at the receiver's."""
    walk = start_walk("A researcher: 200 PNG files and a table of patients, to a network at the receiver's")
    write_scans(walk.folder / "scans", *images_of_two_classes(200, REAL / "medmnist"))
    write_class_folders(walk.folder / "mine", *images_of_two_classes(60, REAL / "medmnist", "test"))
    looked = walk.run("lightning-distill audit-data scans --data.test_fraction 0.2")
    assert "patient" in looked
    walk.run("lightning-distill distill scans --data.test_fraction 0.2 --ipc 5 --minutes 3 --out shared")
    walk.run(f"lightning-distill audit-set --set shared {SCANS} --minutes 12 --attach true --sheet sheet.html")
    walk.run("lightning-distill report shared --out report.html")
    scored = walk.run("lightning-distill inspect shared --train timm:resnet18 --data FolderDataModule --data.root mine")
    assert re.search(r"accuracy", scored)
    assert len(walk.steps) <= 5
    assert walk.seconds < 20 * 60
    received = load_set(walk.folder / "shared")
    assert received.card["audit"]
    page = (walk.folder / "report.html").read_text()
    assert "What shared reveals" in page
    assert (walk.folder / "sheet.html").is_file()


def test_a_lightning_user_adds_one_import_and_one_line(start_walk):
    """A project with a timm network measures a set by one callback, and its own metrics stay as they were."""
    walk = start_walk("A Lightning user: one import and one line in a project with a timm network")
    for folder, split, count in (("train", "train", 120), ("val", "test", 60)):
        write_class_folders(walk.folder / folder, *images_of_two_classes(count, REAL / "medmnist", split))
    (walk.folder / "project.py").write_text(PROJECT)
    before = walk.environment.folder / "bin" / "python"
    assert before.exists()
    walk.run("lightning-distill coreset --method herding --data FolderDataModule --data.root train --ipc 5 --out picks")
    added = 'trainer = Trainer(max_epochs=1, callbacks=[StudentEvaluation(synthetic_set="picks")], '
    text = PROJECT.replace("import torch\n", "import torch\nfrom lightning_distill import StudentEvaluation\n", 1)
    text = text.replace("trainer = Trainer(max_epochs=1, ", added)
    walk.typed += [line for line in text.splitlines() if line not in PROJECT.splitlines()]
    (walk.folder / "project.py").write_text(text)
    printed = walk.run("python project.py")
    assert len(walk.typed) == 2
    assert "students/val/acc" in printed
    assert "students/val/acc_gain_over_random" in printed


def test_an_author_adds_a_method(start_walk):
    """A method of less than 20 lines is checked, runs in a sweep, and stands in the table."""
    walk = start_walk("A method's author: fewer than 20 lines, checked, in a sweep, and in the table")
    walk.type("moments.py", METHOD)
    walk.type("sweep.yaml", SWEEP)
    assert len([line for line in METHOD.splitlines() if line.strip()]) < 20
    walk.run(
        'python -c "from lightning_distill import check_distiller; import moments; '
        'check_distiller(moments.MomentDistiller)"'
    )
    rates = yaml.safe_load(SWEEP)["parameters"]["model.init_args.lr"]["values"]
    for rate in rates:  # the commands of the agent's runs; an agent itself needs a W&B server
        walk.run(
            "python -m lightning_distill fit --model=moments.MomentDistiller --data=DigitsDataModule "
            f"--model.init_args.lr={rate} --model.ipc=5 --trainer.max_steps=60 --out=runs/lr{rate}"
        )
    for rate in rates:
        table = walk.run(
            f"lightning-distill evaluate --set runs/lr{rate}/best --data DigitsDataModule --split val "
            "--protocol quick --students 3 --baselines random --out table.csv"
        )
        assert "Moment, 3 students" in table
    walk.run("lightning-distill report table.csv runs/lr1.0 --out report.html")
    assert "MomentDistiller" in (walk.folder / "report.html").read_text()
