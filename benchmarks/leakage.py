"""Audit the leakage of recipes by shadow sets: utility beside the rates of membership attacks.

    python benchmarks/leakage.py --root ../shared/data/medmnist --only breastmnist --ipc 1 --shadows 16
    python benchmarks/leakage.py --quick                            # scikit-learn's digits, as a test

Each recipe is repeated on random halves of the patients (`leakage.audit_set`), with random and herding picks, all real
images and the method from noise beside it. Every attack gives one row for images and, where patients are known, one for
patients, in ``benchmarks/results/leakage.csv``. A killed run resumes: shadow sets are kept in ``runs/leakage``.
The test split is not read; held-out images are those of the validation split.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

from script import HERE, folder, listed, options

from lightning_distill import DigitsDataModule, DMDistiller, KRRDistiller, MedMNISTDataModule, MNISTDataModule
from lightning_distill.bench.results import ResumableCsv, provenance
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.leakage import AttackRow, AuditResult, audit_set
from lightning_distill.utils.hardware import Accelerator

SOURCES = {
    "breastmnist": "official file",
    "pneumoniamnist": "reassembled, official pixels",
    "dermamnist": "lesion-disjoint split, not the official file",
    "mnist": "official files",
}
IPCS = (1, 10, 50)
NETWORK = "convnet_w32"
#: Epsilon of the baseline dp.
EPSILON = 8.0
#: Audited recipes: the default ones (herding picks, sub-images), DM's of the paper from random real images, and KRR
#: without distribution matching.
RECIPES: dict[str, Callable[..., Distiller]] = {
    "dm default": DMDistiller,
    "dm paper": partial(DMDistiller, preset="paper"),
    "krr": KRRDistiller,
    "krr alone": partial(KRRDistiller, dm_weight=0.0),
}
KEYS = ("dataset", "ipc", "audited", "recipe", "attack", "unit", "network", "shadows")
RATES = ("tpr", "low", "high", "calibrated_fpr", "calibrated_tpr")
COLUMNS = (
    "source", "steps", "protocol", "students", "queries", "images", "patients",
    "balanced_acc", "balanced_acc_std", "auc", "auc_low", "auc_high", "attack_balanced_acc", "non_members",
    *(f"{name}_at_{level}" for level in ("1", "0.1") for name in RATES), "ppv_prior_1", "ppv_prior_10",
    "started_tpr", "started_fpr", "started_images", "worst_class", "worst_class_auc",
    "make_seconds", "measure_seconds", "peak_mb",
)  # fmt: skip


def cells(row: AttackRow, result: AuditResult) -> dict[str, object]:
    """Return the cells of a row of an audit."""
    rates, about = row.rates, result.about
    score, seconds, started = result.utility[row.recipe], result.seconds[row.recipe], row.started or {}
    named: dict[str, object] = {}
    for level, rate in zip(("1", "0.1"), rates.rates, strict=True):
        for name in RATES:
            value = getattr(rate, name)
            named[f"{name}_at_{level}"] = "not resolvable" if value != value and name == "tpr" else number(value)
    ppv = rates.rates[0].ppv
    return {
        "recipe": row.recipe, "attack": row.attack, "unit": row.unit, "source": about["source"],
        "network": about["network"], "protocol": about["protocol"], "students": about["students"],
        "queries": about["queries"], "shadows": about["shadows"], "images": about["images"],
        "patients": about["patients"] or "unknown", "balanced_acc": number(score[0]), "balanced_acc_std":
        number(score[1]), "auc": number(rates.auc), "auc_low": number(rates.auc_low), "auc_high":
        number(rates.auc_high), "attack_balanced_acc": number(rates.balanced_accuracy), "non_members":
        rates.non_members, **named, "ppv_prior_1": number(ppv[0]), "ppv_prior_10": number(ppv[1]),
        **{f"started_{name}": number(started[name]) if name in started else "" for name in ("tpr", "fpr", "images")},
        "worst_class": row.worst_class, "worst_class_auc": number(row.worst_class_auc),
        "make_seconds": f"{seconds[0]:.1f}", "measure_seconds": f"{seconds[1]:.1f}", "peak_mb": peak_megabytes(),
    }  # fmt: skip


def number(value: float) -> str:
    return "" if value != value else f"{value:.4f}"


def peak_megabytes() -> int:
    """Return the largest resident memory of this process so far, in megabytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(
    name: str, make: Callable[[], ArrayDataModule], ipc: int, recipe: str, steps: int, shadows: int,
    book: ResumableCsv, place: Path, settings: dict[str, Any],
) -> None:  # fmt: skip
    """Audit one recipe on one data set, and write its rows as soon as each baseline is finished."""
    distiller = RECIPES[recipe](ipc=ipc, network=settings["network"], compile="off", on_small_class="fewer")
    began = time.perf_counter()
    command = f"python benchmarks/leakage.py --only {name} --ipc {ipc} --shadows {shadows} --steps {steps}"
    command += f" --network {network}" if (network := settings["network"]) != NETWORK else ""
    command += f" --recipes {shlex.quote(recipe)}"
    command += (
        f" --baselines {','.join(baselines) or 'none'}" if (baselines := settings["baselines"]) is not None else ""
    )
    command += f" --accelerator {device}" if (device := settings["accelerator"]) != "cpu" else ""

    command += f" --epsilon {epsilon:g}" if (epsilon := settings["dp_epsilon"]) != EPSILON else ""

    def write(result: AuditResult, finished: str) -> None:
        for row in result.rows:
            if row.recipe == finished:
                book.put({
                    "dataset": name, "ipc": ipc, "audited": recipe, "steps": steps, **cells(row, result),
                    **provenance(command),
                })  # fmt: skip
        print(f"{name} ipc {ipc}, {recipe}: {finished}, {time.perf_counter() - began:.0f} s", flush=True)

    folder_name = f"{name}_{settings['network']}_ipc{ipc}_{recipe.replace(' ', '_')}"
    audit_set(
        distiller,
        make(),
        steps=steps,
        shadows=shadows,
        out=place / folder_name,
        recovery=True,
        on_rows=write,
        **settings,
    )


def main(arguments: list[str] | None = None) -> None:
    parser = options(__doc__)
    parser.add_argument("--root", help="folder of the npz files; default: that of MedMNISTDataModule")
    parser.add_argument("--only", help=f"comma-separated data sets: {','.join(SOURCES)}")
    parser.add_argument("--ipc", help="comma-separated images per class; default: 1,10,50")
    parser.add_argument("--recipes", help=f"comma-separated recipes: {','.join(RECIPES)}")
    parser.add_argument("--baselines", help="comma-separated baselines, or none; default: those of audit_set")
    parser.add_argument("--network", default=NETWORK, help="network of distillation, students and teachers")
    parser.add_argument("--shadows", type=int, default=64, help="number of shadow sets")
    parser.add_argument("--steps", type=int, default=100, help="steps of each distillation")
    parser.add_argument("--epsilon", type=float, default=EPSILON, help="epsilon of the baseline dp")
    parser.add_argument("--accelerator", default="cpu", choices=get_args(Accelerator), help="device")
    given = parser.parse_args(arguments)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    names = listed(parser, given.only or ",".join(SOURCES), tuple(SOURCES))
    ipcs = [int(text) for text in given.ipc.split(",")] if given.ipc else list(IPCS)
    recipes = listed(parser, given.recipes or ",".join(RECIPES), tuple(RECIPES))
    makes: dict[str, Callable[[], ArrayDataModule]] = {
        name: partial(MedMNISTDataModule, name, root=given.root, download=given.root is None, source=SOURCES[name])
        for name in names
        if name != "mnist"
    }
    if "mnist" in names:
        makes["mnist"] = MNISTDataModule
    baselines = [] if given.baselines == "none" else given.baselines.split(",") if given.baselines else None
    settings: dict[str, Any] = {"network": given.network, "protocol": "quick", "baselines": baselines}
    settings |= {"accelerator": given.accelerator, "dp_epsilon": given.epsilon}
    steps, shadows = given.steps, given.shadows
    if given.quick:
        makes, ipcs, recipes = {"digits": partial(DigitsDataModule, real_per_class=8)}, [1], recipes[:1]
        settings, steps, shadows = {**settings, "network": "convnet_w16", "protocol": "tiny"}, 1, 8
    book = ResumableCsv(folder(given) / "leakage.csv", KEYS, COLUMNS, overwrite=given.again)
    place = (folder(given) if given.quick else HERE.parent / "runs") / "leakage"
    for name, make in makes.items():
        for ipc in ipcs:
            for recipe in recipes:
                measure(name, make, ipc, recipe, steps, shadows, book, place, settings)


if __name__ == "__main__":
    main()
