"""Peak memory of a fit, each in a process of its own: does it grow with classes (DC, DSA), with inner steps (MTT)?

    python benchmarks/memory.py            # writes benchmarks/results/memory.csv

Noise of 3x32x32 pixels, ConvNet depth 3 width 128, float32, 10 images a class, 256 real ones a class, two steps.
``peak_mib`` is the largest resident size of the process, ``above_start_mib`` what the fit added to it after imports and
data. The MTT rows have 2 classes (20 images a batch).
"""

from __future__ import annotations

import csv
import datetime
import json
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from lightning import Trainer

import lightning_distill as d
from lightning_distill.commands.experts import experts
from lightning_distill.evaluation.table import machine

CASES = [
    *({"method": method, "classes": classes} for method in ("DCDistiller", "DSADistiller") for classes in (2, 5, 10)),
    *(
        {"method": "MTTDistiller", "classes": 2, "syn_steps": steps, "constant_memory": constant}
        for constant in (True, False)
        for steps in (5, 10, 20)
    ),
]


def peak() -> float:
    """Largest resident size of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(case: dict[str, object]) -> dict[str, float]:
    """Fit two steps and say what it took."""
    random, classes = np.random.default_rng(0), int(str(case["classes"]))
    images = random.integers(0, 256, (classes * 260, 32, 32, 3), dtype=np.uint8)
    real = 1 if case["method"] == "MTTDistiller" else 256
    data = d.ArrayDataModule((images, np.arange(len(images)) % classes), real_per_class=real)
    options = {key: value for key, value in case.items() if key not in ("method", "classes")}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case["method"] == "MTTDistiller":
            experts(data, folder, count=1, epochs=2, batch_size=32)
            options |= {"experts": folder, "max_start": 1, "expert_epochs": 1}
        trainer = Trainer(
            max_steps=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, limit_val_batches=0,
        )  # fmt: skip
        start = peak()
        trainer.fit(getattr(d, str(case["method"]))(ipc=10, compile="off", **options), datamodule=data)
    return {"peak_mib": round(peak()), "above_start_mib": round(peak() - start)}


def main() -> None:
    rows = []
    for case in CASES:
        done = subprocess.run([sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, check=True)
        rows.append({**case, **json.loads(done.stdout.strip().splitlines()[-1])})
        print(rows[-1], flush=True)
    about = {
        "machine": machine(),
        "torch": torch.__version__,
        "lightning_distill": d.__version__,
        "date": datetime.date.today().isoformat(),
        "command": "python benchmarks/memory.py",
    }
    columns = ["method", "classes", "syn_steps", "constant_memory", "peak_mib", "above_start_mib", *about]
    with (Path(__file__).parent / "results" / "memory.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**row, **about} for row in rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        main()
