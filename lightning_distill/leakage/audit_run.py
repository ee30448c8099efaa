"""One audit: shadow sets of each recipe are made, measured and attacked, and the result is saved after each."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill._version import __version__
from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.copies.embedding import EMBEDDING_STEPS, ContrastiveEmbedding
from lightning_distill.leakage.baselines import channel_recipes
from lightning_distill.leakage.canaries import CanaryKind, audit_canaries
from lightning_distill.leakage.limits import not_measured
from lightning_distill.leakage.measure import Measurer, image_statistics
from lightning_distill.leakage.members import Members
from lightning_distill.leakage.pairs import save_closest_pairs
from lightning_distill.leakage.recipes import DistillRecipe, MadeSet, Recipe, Variant
from lightning_distill.leakage.reconstruction import measure_recovery
from lightning_distill.leakage.result import AuditResult
from lightning_distill.leakage.score import Scores, rows_of_set, rows_of_shadows, save_scores, score_set, score_shadows
from lightning_distill.leakage.search_copies import copies_of_set, copies_of_shadows
from lightning_distill.leakage.shadows import (
    GROUP,
    ShadowMaker,
    ShadowRun,
    make_one_by_one,
    read_arrays,
    read_made,
)
from lightning_distill.leakage.table import ShadowTable
from lightning_distill.leakage.time_budget import plan_for_minutes
from lightning_distill.leakage.together import can_share, make_together, sets_at_once
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.atomic_files import write_files_atomically
from lightning_distill.utils.hardware import machine_description
from lightning_distill.utils.progress import ProgressCounter

#: Files of an audit in its folder.
RESULT, SHADOWS, PICTURE = "audit.json", "shadows", "closest_pairs.png"
#: Number of sets that the scores of canaries are relative to.
CANARY_REFERENCES = 4


@dataclass
class Audit:
    """State of one audit.

    Args:
        recipe: Audited recipe, fitted to the data.
        datamodule: Data that the set is made from.
        members: Images and patients that a set may be made from.
        halves: Membership ``(shadows, N)`` of the images.
        folder: Folder of the audit.
        finished: Finished set that is attacked too.
        asked: Settings of `audit_set`: shadows, students, queries, network, protocol, seed and the claimed guarantee.
        device: Device to compute on.
        maker: Function that makes the shadow sets; ``None`` for that of the method.
        together: Whether the shadow sets of distribution matching are distilled in one pass.
        recovers: Whether the recovery of the starts is measured.
        canaries: Number of canaries; 0 for none.
        progress: Counter of shadow sets.
        on_rows: Function that receives the result so far and the name of the recipe with new rows.
        left_out: Names of the baselines that did not fit into the time.
    """

    recipe: Recipe
    datamodule: ArrayDataModule
    members: Members
    halves: NDArray[np.bool_]
    folder: Path
    finished: LabeledSet | None
    asked: Mapping[str, Any]
    device: str
    maker: ShadowMaker | None
    together: bool
    recovers: bool
    canaries: int
    progress: ProgressCounter
    on_rows: Callable[[AuditResult, str], object]
    began: float = field(default_factory=time.perf_counter)
    left_out: Sequence[str] = ()

    def plan(self, minutes: float, baselines: Sequence[Recipe]) -> Sequence[Recipe]:
        """Make the first shadow sets, choose the number of shadow sets that fits into the time, and the baselines.

        Args:
            minutes: Minutes for the whole audit.
            baselines: Recipes beside the audited one.

        Returns:
            The baselines that fit.

        Raises:
            ValueError: The time is too short; the message names the minutes that are needed.
        """
        run = self._shadow_run(self.recipe)  # trains the embedding
        spent = time.perf_counter() - self.began
        run.halves = self.halves[: run.group]
        run.run(ProgressCounter(self.progress.report, len(run.halves)))
        make, measure = read_arrays(run.path(0))["seconds"].tolist()
        spent += make * (self.recovers and isinstance(self.recipe, DistillRecipe))
        plan = plan_for_minutes(minutes, spent, (make, measure), baselines, len(self.halves))
        self.halves, self.left_out = self.halves[: plan.shadows], plan.left_out
        self.asked = {**self.asked, "shadows": plan.shadows}
        self.progress.total = plan.shadows * (1 + len(plan.baselines))
        return plan.baselines

    @cached_property
    def result(self) -> AuditResult:
        """Result so far."""
        members = self.members
        return AuditResult(
            {
                "recipe_name": self.recipe.name,
                "recipe": self.recipe.describe(),
                "data": members.spec.name,
                "source": members.spec.source,
                "images": len(members),
                "held_out": len(members.held_labels),
                "patients": members.num_units if members.has_patients else None,
                "unit": members.kind,
                "classes": list(members.spec.balance_groups),
                **self.asked,
                "machine": machine_description(),
                "versions": {"lightning_distill": __version__, "torch": torch.__version__},
                "date": datetime.date.today().isoformat(),
            }
        )

    @cached_property
    def embedding(self) -> ContrastiveEmbedding:
        """Embedding of the images, trained at the first use or read from the folder."""
        self.progress.start("embedding")
        members = self.members
        return ContrastiveEmbedding.fit_or_load(
            self.folder,
            members.images,
            members.spec,
            digest=members.digest,
            steps=EMBEDDING_STEPS,
            device=self.device,
        )

    @cached_property
    def measurer(self) -> Measurer:
        """Measurements of a set: its students and distances."""
        settings = {name: self.asked[name] for name in ("network", "protocol", "students", "queries")}
        return Measurer(self.members, **settings, embedding=self.embedding, device=self.device)

    @cached_property
    def statistics(self) -> NDArray[np.float32]:
        """Mean and mean square of the channels of each image, for the attack on shipped statistics."""
        return image_statistics(self.members)

    def check_folder(self, baselines: Sequence[Recipe]) -> None:
        """Raise ValueError where the folder holds shadow sets of other recipes, data or settings.

        Args:
            baselines: Recipes beside the audited one.
        """
        for recipe in (self.recipe, *baselines):
            self._shadow_run(recipe).missing()

    def measure_all(self, baselines: Sequence[Recipe]) -> None:
        """Measure the recipe, what else its file ships (labels, rates), and the baselines.

        Args:
            baselines: Recipes beside the audited one.
        """
        run = self.measure(self.recipe)
        channels: list[Recipe] = []
        if self.recipe.ships_images:
            made = self._made(run, 0)
            if self.finished is None:
                save_closest_pairs(self.folder / PICTURE, made.data, self.members)
            channels += channel_recipes(self.recipe, made.data)
            self.progress.total += len(self.halves) * len(channels)
        for other in [*channels, *baselines]:
            self.measure(other)

    def measure(self, recipe: Recipe) -> ShadowRun:
        """Make, measure and attack the shadow sets of a recipe, and save the result so far."""
        result, name = self.result, recipe.name
        run = self._shadow_run(recipe)
        run.run(self.progress)
        paths = [run.path(i) for i in range(len(self.halves))]
        table = ShadowTable.read(paths, self.halves, self.statistics, of_halves=run.public_statistics)
        scores = score_shadows(table)
        save_scores(self.folder / f"scores-{_file_name(recipe)}.npz", scores, self.halves, self.members.units)
        result.rows += rows_of_shadows(name, table, scores, self.members)
        result.utility[name] = float(table.scores.mean()), float(table.scores.std(ddof=1))
        result.seconds[name] = (float(table.seconds[:, 0].mean()), float(table.seconds[:, 1].mean()))
        if recipe.ships_images:
            result.copies[name] = copies_of_shadows(run, self.members, self.embedding).to_dict()
        if recipe is self.recipe and self.finished is not None:
            self._attack_finished(self.finished, table, scores)
        self.save()
        self.on_rows(result, name)
        return run

    def measure_recovery(self) -> None:
        """Measure how well the starts are recovered as steps grow, for sets that start from real images."""
        if isinstance(self.recipe, DistillRecipe):
            self.progress.start("recovery of the starts")
            self.result.recovery = [row.to_dict() for row in measure_recovery(self.recipe, self.datamodule)]

    def measure_canaries(self, kind: CanaryKind) -> None:
        """Insert canaries into the data, and bound epsilon from below by the guesses of who was inserted.

        Args:
            kind: Kind of the canaries.
        """
        self.progress.start("canaries")
        used = min(CANARY_REFERENCES, len(self.halves)) if self.recipe.ships_images else 0
        run = self._shadow_run(self.recipe)
        checked = audit_canaries(
            self.recipe,
            self.datamodule,
            self.members,
            self.measurer,
            references=[self._made(run, i) for i in range(used)],
            kind=kind,
            count=self.canaries,
            claimed=self.asked["claimed_epsilon"],
            delta=self.asked["claimed_delta"],
            seed=self.asked["seed"],
        )
        values = {name: getattr(checked, name) for name in ("kind", "score", "canaries", "guesses", "correct")}
        values |= {"epsilon": checked.epsilon, "delta": checked.delta, "claimed": checked.claimed}
        self.result.canaries = {**values, "violated": checked.violated, "sentence": checked.sentence()}

    def finish(self) -> AuditResult:
        """Save and return the result."""
        self.save()
        self.progress.start("done")
        return self.result

    def save(self) -> None:
        """Write the result so far, with what was not measured."""
        result, multi_label = self.result, self.members.spec.multi_label
        result.about["total_seconds"] = round(time.perf_counter() - self.began, 1)
        result.not_measured = not_measured(
            result, self.members, self.recovers, self.canaries, self.finished is not None
        )
        result.not_measured += [f"The baseline {name} did not fit into the minutes given." for name in self.left_out]
        if self.together and self.maker is None and can_share(self.recipe, multi_label):
            result.not_measured.append(
                "The effect of each half's mean and standard deviation on networks: the shadow sets share those of all "
                "data, and only the attack on the statistics themselves takes those of each half."
            )
        text = json.dumps(result.to_dict(public=False), indent=1)
        write_files_atomically({self.folder / RESULT: text.encode()})

    def _shadow_run(self, recipe: Recipe) -> ShadowRun:
        """Return the shadow sets of a recipe, which are made by `ShadowRun.run`."""
        shared = self.together and self.maker is None and can_share(recipe, self.members.spec.multi_label)
        at_once = (GROUP if self.device == "cuda" else 1) if recipe.ships_images else 1
        if shared and isinstance(recipe, DistillRecipe):
            at_once = min(GROUP, sets_at_once(recipe))
        settings = {name: self.asked[name] for name in ("network", "protocol", "students", "queries")}
        return ShadowRun(
            recipe,
            self.datamodule,
            self.halves,
            self.folder / SHADOWS / _file_name(recipe),
            self.measurer,
            {**settings, "version": 1},
            make_together if shared else self.maker or make_one_by_one,
            at_once,
            self.folder / SHADOWS / _file_name(recipe.base) if isinstance(recipe, Variant) else None,
            public_statistics=shared,
        )

    def _attack_finished(self, finished: LabeledSet, table: ShadowTable, scores: Scores) -> None:
        """Attack the finished set, with the shadow sets as references."""
        members = self.members
        (measured,) = self.measurer.measure([MadeSet(finished)], self.recipe.ships_images)
        own = score_set(table, measured)
        flags = np.arange(len(members) + len(members.held_labels))[None] < len(members)
        units = np.concatenate([members.units, members.num_units + members.held_units])
        save_scores(self.folder / "scores-set.npz", own, flags, units)
        self.result.rows += rows_of_set(self.recipe.name, own, members, scores, table)
        self.result.copies["set"] = copies_of_set(finished, members, self.embedding).to_dict()
        save_closest_pairs(self.folder / PICTURE, finished, members)

    def _made(self, run: ShadowRun, shadow: int) -> MadeSet:
        """Read a shadow set."""
        return read_made(run.path(shadow), self.members.spec, np.flatnonzero(self.halves[shadow]))


def _file_name(recipe: Recipe) -> str:
    return recipe.name.replace(" ", "_")
