"""Compare one process with two on one machine: ``ddp`` distributes the classes of a step, and the students.

    python benchmarks/scaling.py                        # writes benchmarks/results/scaling.csv
    python benchmarks/scaling.py --quick                # tiny sizes, as a test

Every process has one thread, so that two processes have twice the compute; on CUDA every process has its own GPU.
Noise of 3x32x32, ten classes, 10 synthetic and 256 real images per class, ConvNet of width 64, eager float32; four
students of 31 epochs. ``step_ms`` is the median of five steps after the first, ``students_s`` the time of a
validation (mostly training of students). ``difference`` is the largest difference between the final images of one and
two processes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import torch
from lightning import Callback, Trainer
from safetensors.torch import load_file, save_file
from script import folder, options

from lightning_distill.bench.cases import BenchmarkCase, Size, make_distiller, noise_data
from lightning_distill.bench.measure import silence_lightning
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.callbacks import StudentEvaluation
from lightning_distill.evaluation import Protocol

STEPS, STUDENTS, EPOCHS = 6, 4, 30
SIZE, TINY = Size(network="convnet_w64"), Size(2, 1, 8, 2, 4, None, "convnet_w16")


class Clock(Callback):
    """Record the end time of every step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        """Record the end of a step."""
        self.ends.append(time.perf_counter())


def fit(processes: int, size: Size, epochs: int, out: str) -> None:
    """Train and validate as one of several processes; the first process writes times and images."""
    torch.set_num_threads(1)
    data, clock = noise_data(size), Clock()
    students = StudentEvaluation(students=STUDENTS, architectures=[size.network], random_baseline=False)
    students.evaluator.protocol = Protocol("bench", epochs)
    distiller = make_distiller(BenchmarkCase("dm", size, data), "off")
    trainer = Trainer(
        max_steps=STEPS, devices=processes, strategy="ddp" if processes > 1 else "auto", limit_val_batches=0,
        accelerator="auto", callbacks=[clock], enable_model_summary=False, logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
    )  # fmt: skip
    with silence_lightning():
        trainer.fit(distiller, datamodule=data)
        trainer.limit_val_batches = 1
        trainer.callbacks.append(students)  # type: ignore[attr-defined]  # set by Lightning at run time
        began = time.perf_counter()
        trainer.validate(distiller, datamodule=data, verbose=False)
    took = time.perf_counter() - began
    if trainer.is_global_zero:
        steps = [b - a for a, b in zip(clock.ends, clock.ends[1:], strict=False)]
        times = {"step_ms": round(1000 * statistics.median(steps), 1), "students_s": round(took, 2)}
        save_file({"images": distiller.synthetic.images.detach().cpu()}, out, metadata={"times": json.dumps(times)})


def run(processes: int, size: Size, epochs: int, out: Path) -> tuple[dict[str, float], torch.Tensor]:
    """Run `fit` in new processes and return its times and images."""
    given = json.dumps({"processes": processes, "size": asdict(size), "epochs": epochs, "out": str(out)})
    command, environment = (
        [sys.executable, "-W", "ignore", __file__, "--child", given],
        os.environ | {"OMP_NUM_THREADS": "1"},
    )
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"{processes} processes failed: {done.stderr[-2000:]}")
    from safetensors import safe_open

    with safe_open(out, framework="pt") as file:
        return json.loads(file.metadata()["times"]), load_file(out)["images"]


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--child", help="run one process with settings given as JSON")
    given = parser.parse_args(arguments)
    if given.child:
        wanted = json.loads(given.child)
        fit(**{**wanted, "size": Size(**wanted["size"])})
        return
    size, epochs = (TINY, 1) if given.quick else (SIZE, EPOCHS)
    made = provenance("python benchmarks/scaling.py" + " --quick" * given.quick) | {"threads": "1 a process"}
    columns = ("step_ms", "step_ratio", "students_s", "students_ratio", "difference")
    book = ResumableCsv(folder(given) / "scaling.csv", ("processes", "machine"), columns, overwrite=given.again)
    with tempfile.TemporaryDirectory() as place:
        one, images = run(1, size, epochs, Path(place, "1"))
        two, others = run(2, size, epochs, Path(place, "2"))
    for processes, times, difference in ((1, one, images - images), (2, two, images - others)):
        ratios = {f"{name.split('_')[0]}_ratio": round(one[name] / times[name], 2) for name in one}
        row = {"processes": processes, **times, **ratios, "difference": f"{difference.abs().max().item():.1e}"}
        print(row, flush=True)
        book.put({**row, **made})


if __name__ == "__main__":
    main()
