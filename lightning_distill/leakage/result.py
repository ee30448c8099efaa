"""Result of a leakage audit: rows of the table, sentences generated from numbers, and plain data for files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lightning_distill.leakage.attacks import ATTACKS
from lightning_distill.leakage.exposure import Exposed
from lightning_distill.leakage.rates import PRIORS, AttackRates
from lightning_distill.leakage.signal_attacks import SIGNAL_ATTACKS

#: Descriptions of the attacks on sets and on signal banks.
ATTACK_LABELS = {name: attack.label for name, attack in ATTACKS.items()} | SIGNAL_ATTACKS

#: Names of rows in words; other recipes are distillation methods.
LABELS = {
    "random": "random real images",
    "herding": "herding picks",
    "kmeans": "k-means picks",
    "kcenter": "k-center picks",
    "full": "all real images",
    "noise": "same method, from noise",
    "real": "same method, from random real images",
    "hard labels": "same sets, hard labels",
    "soft labels": "same method, soft labels",
    "protocol's rate": "same sets, without the learned rate",
    "public statistics": "same sets, without their mean and std",
}


@dataclass(frozen=True)
class AttackRow:
    """An attack on the sets of a recipe, or on a finished set.

    Args:
        recipe: Name of the recipe.
        attack: Name of the attack in `attacks.ATTACKS` or `signal_attacks.SIGNAL_ATTACKS`.
        target: ``shadows`` for all shadow sets of the recipe, ``set`` for a finished set.
        unit: ``image``, or the kind of a group, such as a patient.
        rates: Error rates.
        started: Rates among the images that the sets started from or hold; ``None`` where there are none.
        worst_class: Name of the class with the largest AUC; empty for patients.
        worst_class_auc: Its AUC.
        exposed: Most exposed images or patients. They stay in the local files and are never written to a card.
    """

    recipe: str
    attack: str
    target: str
    unit: str
    rates: AttackRates
    started: Mapping[str, float] | None = None
    worst_class: str = ""
    worst_class_auc: float = math.nan
    exposed: Sequence[Exposed] = ()

    def to_dict(self, public: bool) -> dict[str, object]:
        """Return plain data for JSON.

        Args:
            public: Whether rows of images and numbers of patients are left out.
        """
        values: dict[str, object] = {
            "recipe": self.recipe,
            "recipe_label": LABELS.get(self.recipe, self.recipe),
            "attack": self.attack,
            "attack_label": ATTACK_LABELS[self.attack],
            "target": self.target,
            "unit": self.unit,
            **self.rates.to_dict(),
            "started": None if self.started is None else dict(self.started),
            "worst_class": self.worst_class,
            "worst_class_auc": None if math.isnan(self.worst_class_auc) else self.worst_class_auc,
        }
        exposed = [asdict(one) for one in self.exposed]
        if public:
            exposed = [{key: value for key, value in one.items() if key != "number"} for one in exposed]
        return {**values, "exposed": exposed}


@dataclass
class AuditResult:
    """Result of `audit_set`.

    Args:
        about: What was audited and how: data, recipe, shadows, students, seeds, versions.
        rows: Attacks on recipe, baselines and finished set.
        utility: Balanced accuracy on the validation split by recipe: mean and standard deviation over shadow sets.
        seconds: Seconds of making and of measuring one shadow set, by recipe.
        copies: Copy detection by recipe or ``set``.
        recovery: Recovery of the starts as steps grow.
        canaries: Result of a one-run audit, as plain data with its sentence.
        not_measured: Things that were not measured, in words.
    """

    about: dict[str, Any]
    rows: list[AttackRow] = field(default_factory=list)
    utility: dict[str, tuple[float, float]] = field(default_factory=dict)
    seconds: dict[str, tuple[float, float]] = field(default_factory=dict)
    copies: dict[str, dict[str, float]] = field(default_factory=dict)
    recovery: list[dict[str, object]] = field(default_factory=list)
    canaries: dict[str, object] | None = None
    not_measured: list[str] = field(default_factory=list)

    def to_dict(self, public: bool = True) -> dict[str, object]:
        """Return plain data for JSON.

        Args:
            public: Whether rows of images and numbers of patients are left out, as in the card of a set.
        """
        values = {
            "about": self.about,
            "rows": [row.to_dict(public) for row in self.rows],
            "utility": {name: list(pair) for name, pair in self.utility.items()},
            "seconds": {name: list(pair) for name, pair in self.seconds.items()},
            "copies": self.copies,
            "recovery": self.recovery,
            "canaries": self.canaries,
            "not_measured": self.not_measured,
            "verdict": self.sentences(),
        }
        plain: dict[str, object] = json.loads(json.dumps(values, default=float))
        return plain

    def of(self, recipe: str, target: str = "shadows", unit: str | None = None) -> list[AttackRow]:
        """Return the rows of a recipe.

        Args:
            recipe: Name of the recipe.
            target: ``shadows`` or ``set``.
            unit: Unit of the rows; ``None`` takes images.
        """
        wanted = "image" if unit is None else unit
        return [row for row in self.rows if (row.recipe, row.target, row.unit) == (recipe, target, wanted)]

    def strongest(self, recipe: str, target: str = "shadows", unit: str | None = None) -> AttackRow | None:
        """Return the row with the largest true positive rate at 1 % false positives, then the largest AUC.

        Args:
            recipe: Name of the recipe.
            target: ``shadows`` or ``set``.
            unit: Unit of the rows; ``None`` takes images.
        """
        rows = self.of(recipe, target, unit)
        return max(rows, key=lambda row: (_or_zero(row.rates.rates[0].tpr), row.rates.auc), default=None)

    def sentences(self) -> list[str]:
        """Return the findings in sentences that name attack, rate, interval and baseline."""
        recipe = str(self.about.get("recipe_name", ""))
        found = []
        for target, what in (("shadows", "sets made by this recipe"), ("set", "the finished set")):
            best = self.strongest(recipe, target)
            if best is not None:
                strongest = f"of {len(self.of(recipe, target))} attacks the strongest was by"
                found.append(f"{what[0].upper()}{what[1:]}: {strongest} {describe_row(best)}")
        for name in self.utility:
            if name != recipe and (row := self.strongest(name)) is not None:
                found.append(
                    f"In comparison, {LABELS.get(name, name)}: the strongest attack was by {describe_row(row)}"
                )
        if self.canaries is not None:
            found.append(f"Canaries: {self.canaries['sentence']}.")
        if self.about.get("claimed_epsilon") is None:
            found.append("There is no formal guarantee: the recipe does not claim differential privacy.")
        return found


def describe_row(row: AttackRow) -> str:
    """Return the rates of an attack in one sentence.

    Args:
        row: Row of the table.
    """
    rates, one = row.rates, row.rates.rates[0]
    text = f"{ATTACK_LABELS[row.attack]!r}; it reached an AUC of {rates.auc:.3f} "
    text += f"[{rates.auc_low:.3f}, {rates.auc_high:.3f}]"
    if one.resolvable:
        text += f" and found {one} of the members at 1 % false positives"
        if not math.isnan(one.ppv[0]):
            values = " and ".join(
                f"{100 * value:.0f} % where {100 * prior:g} % of the people asked about are members"
                for value, prior in zip(one.ppv, PRIORS, strict=True)
                if not math.isnan(value)
            )
            text += f" (a call is right in {values})" if values else ""
    else:
        text += f"; 1 % false positives are not resolvable with {rates.non_members} non-members"
    if row.started is not None:
        text += (
            f"; of the images that the sets hold or started from it found {100 * row.started['tpr']:.0f} % "
            f"at {100 * row.started['fpr']:.2g} % false positives"
        )
    return text + "."


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value
