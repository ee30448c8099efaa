"""Data sheet of an audit for a data protection officer: one printable page in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lightning_distill._version import __version__
from lightning_distill.leakage.attacks import ATTACKS
from lightning_distill.report.leakage_section import about_line, cells_of, copy_sentence


def data_sheet(audit: Mapping[str, Any], set_sha256: str | None = None) -> str:
    """Render the data sheet as one HTML page without references to other files.

    Args:
        audit: Result of an audit as plain data, see `AuditResult.to_dict`.
        set_sha256: Hash of the audited set; ``None`` for the audit of a recipe alone.
    """
    environment = Environment(
        loader=PackageLoader("lightning_distill.leakage"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    about, recipe = audit["about"], audit["about"]["recipe_name"]
    own = strongest_rows(audit["rows"], recipe)
    return environment.get_template("sheet.html.j2").render(
        about=about,
        line=about_line(about),
        recipe=recipe_line(about["recipe"]),
        set_sha256=set_sha256,
        answer=short_answer(own, about),
        rows=[(row["recipe_label"], row["target"], row["attack_label"], cells_of(row)) for row in own]
        + [
            (row["recipe_label"], row["target"], row["attack_label"], cells_of(row))
            for name in audit["utility"]
            if name != recipe
            for row in strongest_rows(audit["rows"], name)
        ],
        attacks=[
            attack.label for name, attack in ATTACKS.items() if any(row["attack"] == name for row in audit["rows"])
        ],
        recovery=recovery_sentence(audit["recovery"]),
        copies=[copy_sentence(name, counts) for name, counts in audit["copies"].items() if name in (recipe, "set")],
        canaries=(audit["canaries"] or {}).get("sentence", ""),
        not_measured=audit["not_measured"],
        changes=what_would_change_it(audit),
        version=__version__,
    )


def strongest_rows(rows: Sequence[Mapping[str, Any]], recipe: str) -> list[Mapping[str, Any]]:
    """Return the strongest attack on the shadow sets of a recipe and on the finished set, by patient where known.

    Args:
        rows: Rows of the audit as plain data.
        recipe: Name of the recipe.
    """
    found: list[Mapping[str, Any]] = []
    for target in ("set", "shadows"):
        units = {row["unit"] for row in rows if row["recipe"] == recipe and row["target"] == target}
        for unit in sorted(units, key=lambda unit: unit == "image"):
            own = [row for row in rows if (row["recipe"], row["target"], row["unit"]) == (recipe, target, unit)]
            best = max(own, key=lambda row: (row["rates"][0]["tpr"] or 0.0, row["auc"]))
            found.append({**best, "started": most_started(rows, recipe, target)})
            break
    return found


def most_started(rows: Sequence[Mapping[str, Any]], recipe: str, target: str) -> Mapping[str, Any] | None:
    """Return the largest share found among the images that sets show or started from, counted by image.

    Args:
        rows: Rows of the audit as plain data.
        recipe: Name of the recipe.
        target: ``set`` or ``shadows``.
    """
    own = [row["started"] for row in rows if (row["recipe"], row["target"]) == (recipe, target) and row["started"]]
    return max(own, key=lambda started: started["tpr"], default=None)


def short_answer(rows: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> list[str]:
    """Return the answer to "what does this file reveal of our patients?" in a few sentences with numbers.

    Args:
        rows: Strongest attacks on the finished set and on the shadow sets.
        about: Description of the audit.
    """
    answer = []
    who = "patients" if about["patients"] is not None else "images"
    if about["recipe"]["kind"] == "picked":
        how = "reduced in size" if about["recipe"]["formation"] > 1 else "unchanged"
        answer.append(f"The file consists of real images, {how}: whoever has the original of one recognises it.")
    for row in rows:
        what = "this file" if row["target"] == "set" else "files made in this way"
        rate = row["rates"][0]
        if rate["tpr"] is None:
            answer.append(
                f"There are too few {who} to say how many the attacks find at 1 % false alarms for {what}; ranking "
                f"them, the strongest attack put a member before a non-member in {100 * row['auc']:.0f} % of the pairs "
                "(guessing: 50 %)."
            )
        else:
            answer.append(
                f"The strongest attack on {what} recognised {100 * rate['tpr']:.1f} % of the {who} whose data were "
                f"used (95 % interval {100 * rate['low']:.1f} to {100 * rate['high']:.1f} %), with 1 % false alarms. "
                "Guessing would recognise 1 %."
            )
        if row["started"] is not None:
            verb = "shows" if row["target"] == "set" else "show"
            answer.append(
                f"Of the {row['started']['images']:.0f} real images that {what} {verb} or started from, an attack "
                f"recognised {100 * row['started']['tpr']:.0f} %."
            )
    answer.append(
        f"These are measurements, not a guarantee: epsilon {about['claimed_epsilon']:g} is claimed."
        if about["claimed_epsilon"] is not None
        else "These are measurements, not a guarantee: the method gives no differential privacy."
    )
    return answer


def recipe_line(recipe: Mapping[str, Any]) -> str:
    """Return a recipe in words.

    Args:
        recipe: Description of the recipe.
    """
    if recipe["kind"] == "picked":
        return f"real images picked by {recipe['method']}, {recipe['ipc']} for each class"
    if recipe["kind"] != "distilled":
        return str(recipe["kind"])
    options = recipe["options"]
    start = options.get("init") or "as the preset says"
    labels = "with soft labels of teachers" if recipe["teachers"] or options.get("soft_labels") else "with plain labels"
    return (
        f"{recipe['method']}, {recipe['steps']:,} steps, images for each class: {options.get('ipc')}, start: {start}, "
        f"{labels}"
    )


def recovery_sentence(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return after how many steps the starts are no longer recognised, if ever; empty without rows.

    Args:
        rows: Recovery of the starts as steps grow.
    """
    if not rows:
        return ""
    first, last = rows[0], rows[-1]
    text = (
        f"The images started from real ones. The start was the best match among all training images for "
        f"{100 * first['top1']:.0f} % of the images before the first step and for {100 * last['top1']:.0f} % after "
        f"{last['steps']:,} steps"
    )
    remembered = [row["steps"] for row in rows if row["recognisable"]]
    if remembered and remembered[-1] == last["steps"]:
        return f"{text}: it stays recognisable."
    return (
        f"{text}: it was no longer recognised more often than by guessing from {last['steps']:,} steps on or earlier."
    )


def what_would_change_it(audit: Mapping[str, Any]) -> list[str]:
    """Return the choices that change what a set reveals, with the measured effect where there is one.

    Args:
        audit: Result of an audit as plain data.
    """
    about, changes = audit["about"], []

    def compare(name: str) -> str:
        found = strongest_rows(audit["rows"], name)
        rate = found[-1]["rates"][0]["tpr"] if found else None
        return "" if rate is None else f" (measured here: {100 * rate:.1f} % recognised at 1 % false alarms)"

    options = about["recipe"].get("options", {})
    if audit["recovery"]:
        changes.append(f"Starting from noise instead of real images{compare('noise')}.")
    if "soft labels" in audit["utility"]:
        changes.append(f"Soft labels instead of plain ones{compare('soft labels')}.")
    if "hard labels" in audit["utility"]:
        changes.append(f"Plain labels instead of soft ones{compare('hard labels')}.")
    for name in audit["utility"]:
        if name.startswith("dp "):
            changes.append(f"Differential privacy, {name.removeprefix('dp ')}{compare(name)}.")
    if "random" in audit["utility"]:
        changes.append(f"Sharing real images instead{compare('random')}.")
    changes += [
        f"Fewer images for each class than now ({options['ipc']})." if "ipc" in options else "Fewer images.",
        "More patients behind the same number of images, and no class of very few patients.",
        "A method with differential privacy, which bounds every attack and not only those tried here.",
        f"More shadow sets than {about['shadows']} narrow the intervals; a stronger attack would raise the rates.",
        "Any other data, recipe, seed or number of steps: this sheet holds for what it names only.",
    ]
    return changes
