"""Run all attacks on all shadow sets of a recipe, or on a finished set, and keep the score of every image."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_distill.leakage.attacks import ATTACKS, applicable
from lightning_distill.leakage.exposure import by_unit, most_exposed, started_rate, worst_class
from lightning_distill.leakage.measure import Measurement
from lightning_distill.leakage.members import Members
from lightning_distill.leakage.rates import LOW_FPRS, attack_rates
from lightning_distill.leakage.result import AttackRow
from lightning_distill.leakage.table import ShadowTable
from lightning_distill.utils.atomic_files import write_files_atomically

Scores = dict[str, NDArray[np.float64]]


def score_shadows(table: ShadowTable) -> Scores:
    """Return the scores ``(N, n)`` of all attacks on all shadow sets, each with the other pairs as references.

    Args:
        table: Measurements of the shadow sets.
    """
    names = applicable(table.evidence(0))
    scores = {name: np.empty(table.members.shape) for name in names}
    for target in range(len(table)):
        evidence = table.evidence(target)
        for name in names:
            scores[name][target] = ATTACKS[name].score(evidence)
    return scores


def rows_of_shadows(recipe: str, table: ShadowTable, scores: Scores, members: Members) -> list[AttackRow]:
    """Return the rows of all attacks on the shadow sets of a recipe, by image and by patient where those are known.

    Args:
        recipe: Name of the recipe.
        table: Measurements of the shadow sets.
        scores: Scores of the attacks.
        members: Candidates.
    """
    rows, first = [], np.unique(members.units, return_index=True)[1]
    for name, values in scores.items():
        rates = attack_rates(values, table.members, len(members))
        fpr = max(LOW_FPRS[0], 1 / rates.non_members)
        label, auc = worst_class(values, table.members, members.strata)
        rows.append(
            AttackRow(
                recipe=recipe,
                attack=name,
                target="shadows",
                unit="image",
                rates=rates,
                started=started_rate(values, table.members, table.started, 1 / rates.non_members),
                worst_class=members.spec.balance_groups[label],
                worst_class_auc=auc,
                exposed=most_exposed(values, table.members, fpr),
            )
        )
        if members.has_patients:
            grouped, flags = by_unit(values, members.units), table.members[:, first]
            own = attack_rates(grouped, flags, members.num_units)
            fpr = max(LOW_FPRS[0], 1 / own.non_members)
            exposed = most_exposed(grouped, flags, fpr)
            rows.append(AttackRow(recipe, name, "shadows", members.kind, own, exposed=exposed))
    return rows


def score_set(table: ShadowTable, measured: Measurement) -> Scores:
    """Return the scores ``(1, n + m)`` of the attacks on a finished set made from all training images.

    Args:
        table: Measurements of the shadow sets.
        measured: Measurements of the set.
    """
    evidence = table.evidence_of_set(measured)
    return {name: ATTACKS[name].score(evidence)[None] for name in applicable(evidence)}


def rows_of_set(recipe: str, scores: Scores, members: Members, shadows: Scores, table: ShadowTable) -> list[AttackRow]:
    """Return the rows of all attacks on a finished set; held-out images are the non-members.

    Args:
        recipe: Name of the recipe.
        scores: Scores of the attacks.
        members: Candidates and held-out images.
        shadows: Scores of the attacks on the shadow sets, on which thresholds are chosen.
        table: Measurements of the shadow sets.
    """
    n, m = len(members), len(members.held_labels)
    flags = np.concatenate([np.ones(n, bool), np.zeros(m, bool)])[None]
    rows, units = [], np.concatenate([members.units, members.num_units + members.held_units])
    first = np.unique(units, return_index=True)[1]
    for name, values in scores.items():
        others = shadows[name], table.members
        rows.append(AttackRow(recipe, name, "set", "image", attack_rates(values, flags, n + m, others)))
        if members.has_patients:
            others = by_unit(shadows[name], members.units), table.members[:, first[: members.num_units]]
            rates = attack_rates(by_unit(values, units), flags[:, first], len(first), others)
            rows.append(AttackRow(recipe, name, "set", members.kind, rates))
    return rows


def save_scores(path: Path, scores: Scores, members: NDArray[np.bool_], units: NDArray[np.int64]) -> None:
    """Write scores so that others can compute rates from them: an npz file without pickle.

    Args:
        path: File to write. It holds ``image`` ``(n,)``, ``patient`` ``(n,)``, ``member`` ``(T, n)`` and the scores
            ``(T, n)`` of each attack.
        scores: Scores of the attacks.
        members: Membership of the candidates.
        units: Patient of each candidate.
    """
    content = io.BytesIO()
    arrays = {name: values.astype(np.float32) for name, values in scores.items()}
    np.savez_compressed(content, image=np.arange(members.shape[1]), patient=units, member=members, **arrays)  # type: ignore[arg-type]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_files_atomically({path: content.getvalue()})
