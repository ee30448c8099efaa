"""Measure peak memory, each case in its own process: with many real images, and against classes and inner steps.

    python benchmarks/memory.py                         # writes benchmarks/results/memory.csv
    python benchmarks/memory.py --quick                 # tiny sizes, as a test

Noise of 3x32x32, ConvNet depth 3 width 128, float32 and eager unless the variant differs, 10 synthetic and 256 real
images per class. DM takes three steps with 50,000 real images, DC and DSA take two image steps with one inner epoch
between them, MTT takes two steps with 2 classes. ``peak_mib`` is the largest resident size of the process,
``above_start_mib`` the part of it added after the imports, including the real images (uint8; float32 for the textbook).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace

import torch
from script import folder, options

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.bench import reference as textbook
from lightning_distill.bench.cases import BenchmarkCase, Size, Variant, make_distiller, noise_data, write_expert_files
from lightning_distill.bench.measure import silence_lightning
from lightning_distill.bench.memory import peak_mib
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.distillers.quiet import quiet_trainer
from lightning_distill.utils.hardware import resolve_device

EAGER, BFLOAT = Variant(), Variant("bf16-mixed", "max")


@dataclass(frozen=True)
class Case:
    """One path with one implementation, in its own process.

    Args:
        work: Name of the method: dm, dc, dsa or mtt.
        size: Sizes of a step.
        side: Implementation, ``ours`` or ``textbook``.
        variant: Precision and compilation of our implementation.
        constant_memory: Unroll MTT with constant memory instead of storing all inner steps.
        steps: Number of image steps.
    """

    work: str
    size: Size
    side: str = "ours"
    variant: Variant = EAGER
    constant_memory: bool = True
    steps: int = 3

    @property
    def key(self) -> dict[str, object]:
        """Values of the key columns of the row."""
        constant = str(self.constant_memory) if self.work == "mtt" else ""
        steps = self.size.syn_steps if self.work == "mtt" else ""
        names = {"work": self.work, "side": self.side, "variant": str(self.variant), "classes": self.size.classes}
        return {**names, "syn_steps": steps, "constant_memory": constant}


def cases(size: Size, real: int, classes: tuple[int, ...]) -> list[Case]:
    """Return all cases: DM with many real images, all methods by classes, MTT by inner steps."""
    many, two = replace(size, real=real), replace(size, classes=2)
    cases = [Case("dm", many, "textbook"), Case("dm", many, variant=BFLOAT), Case("dm", many)]
    cases += [Case("dm", replace(many, classes=k)) for k in classes if k != size.classes]
    cases += [Case(work, replace(size, classes=k, inner=1), steps=2) for work in ("dc", "dsa") for k in (2, 5, 10)]
    return cases + [
        Case("mtt", replace(two, syn_steps=steps), constant_memory=constant, steps=2)
        for constant in (True, False)
        for steps in (5, 10, 20)
    ]


def peaks(case: Case) -> dict[str, int]:
    """Take the steps and return the peak memory. Each implementation stores real images in its own way."""
    size, device = case.size, resolve_device("auto")
    start = peak_mib()
    if case.side == "textbook":
        data = noise_data(replace(size, real=None))
        job, count = BenchmarkCase(case.work, size, data, device), size.real or 0
        images, labels = torch.randn(count, *data.spec.shape), torch.arange(count) % size.classes
        real, groups = textbook.Real(images.to(device), labels, size.classes), PRESETS[data.spec.augmentation]
        dm = textbook.DM(real, job.init_synthetic().images.to(device), job.build, groups, size.real_per_class)
        for _ in range(case.steps):
            dm.step()
    else:
        data = noise_data(size)
        with tempfile.TemporaryDirectory() as walks, silence_lightning():
            if case.work == "mtt":
                write_expert_files(walks, size.network, data.spec)
            more = {"constant_memory": case.constant_memory} if case.work == "mtt" else {}
            distiller = make_distiller(
                BenchmarkCase(case.work, size, data, device, walks), case.variant.compile, **more
            )
            quiet_trainer(case.steps, case.variant.precision, device, []).fit(distiller, datamodule=data)
    numbers = {"peak_mib": round(peak_mib()), "above_start_mib": round(peak_mib() - start)}
    return numbers | ({"cuda_mib": round(torch.cuda.max_memory_allocated() / 2**20)} if device == "cuda" else {})


def child(text: str) -> dict[str, int]:
    """Measure a case given as JSON."""
    given = json.loads(text)
    return peaks(Case(**{**given, "size": Size(**given["size"]), "variant": Variant(**given["variant"])}))


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--child", help="measure one case, given as JSON, in this process")
    given = parser.parse_args(arguments)
    if given.child:
        print(json.dumps(child(given.child)))
        return
    tiny = Size(3, 1, 8, 2, 4, None, "convnet_w16", 2, 1, 2)
    todo = cases(tiny, 40, (2, 3)) if given.quick else cases(Size(), 50_000, (2, 10, 100))
    made = provenance("python benchmarks/memory.py" + " --quick" * given.quick)
    keys = tuple(todo[0].key)
    book = ResumableCsv(folder(given) / "memory.csv", keys, ("real_images", "peak_mib", "above_start_mib", "cuda_mib"),
                overwrite=given.again)  # fmt: skip
    for case in todo:
        if not book.is_missing(*case.key.values()):
            continue
        command = [sys.executable, __file__, "--child", json.dumps(asdict(case))]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{case.key} failed: {done.stderr[-2000:]}")
        numbers = json.loads(done.stdout.strip().splitlines()[-1])
        print(*case.key.values(), numbers, flush=True)
        book.put({**case.key, "real_images": case.size.real or "", **numbers, **made})


if __name__ == "__main__":
    main()
