"""Read the configuration that makes a set, and check that a finished set belongs to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml
from numpy.typing import NDArray

from lightning_distill import distillers
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.leakage.members import Members, check_members
from lightning_distill.leakage.recipes import DistillRecipe, FullRecipe, PickRecipe, Recipe
from lightning_distill.sets.coresets import METHODS
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.synthetic import images_per_class, limit_to_available
from lightning_distill.utils.arguments import check_number

#: Path of a YAML file of ``fit``, its content, a distiller, or the name of a pick of real images (``full`` for all).
Config = str | os.PathLike[str] | Mapping[str, Any] | Distiller
#: Entries of the record of soft labels in a card that a recipe has, and their types.
SOFT_LABELS: Mapping[str, Callable[..., object]] = {
    "teachers": int, "network": str, "protocol": str, "prior": str, "views": int
}  # fmt: skip
#: Names of recipes without a configuration.
PICKS = (*METHODS, "full")


def read_recipe(
    config: Config,
    *,
    ipc: int | list[int] | None = None,
    steps: int | None = None,
    device: str = "cpu",
) -> Recipe:
    """Return the recipe of a configuration.

    Args:
        config: Path of a YAML file of ``fit``, its content, a distiller, or a name of `PICKS`.
        ipc: Images per class of a pick; a configuration holds its own.
        steps: Number of steps in place of ``trainer.max_steps``; needed for a distiller.
        device: Device of the distillation.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The configuration has no distiller or no number of steps, an argument is unknown, or the method
            needs files that were made from the real data.
    """
    if isinstance(config, str) and config in PICKS:
        if steps is not None:
            raise ValueError(f"{config} takes no steps; leave steps out")
        if ipc is not None and config == "full":
            raise ValueError("full takes all images; leave ipc out")
        return FullRecipe() if config == "full" else PickRecipe(config, config, 10 if ipc is None else ipc)
    if ipc is not None:
        raise ValueError("ipc is an option of picked images; a configuration holds its own, model.init_args.ipc")
    if isinstance(config, Distiller):
        content: Mapping[str, Any] = {
            "model": {"class_path": type(config), "init_args": dict(config.hparams)},
            "trainer": {},
        }
    else:
        content = config if isinstance(config, Mapping) else _read_yaml(Path(config))
    content = content.get("fit", content)
    model, trainer = content.get("model") or {}, content.get("trainer") or {}
    if not isinstance(model, Mapping) or not model.get("class_path"):
        raise ValueError("the configuration has no model.class_path: give the YAML file of `lightning-distill fit`")
    method = _find_method(model["class_path"])
    number = steps if steps is not None else trainer.get("max_steps")
    if number is None or number == -1:
        raise ValueError("the configuration has no trainer.max_steps; give the number of steps")
    check_number("steps", number, 1, integer=True)
    precision = "bf16-mixed" if "bf16" in str(trainer.get("precision", "")) else "32-true"
    options = dict(model.get("init_args") or {})
    arguments = signature(method).parameters
    needed = [name for name in method.local_path_args if arguments[name].default is not None]
    if options.get("latent") not in (None, "untrained"):
        raise ValueError(
            "latent is a generator that was trained on all real images: a half would know the other half; audit the "
            "method with latent=untrained, or without it"
        )
    if files := [name for name in method.local_path_args if options.get(name)] or needed:
        raise ValueError(
            f"{method.__name__} reads {', '.join(files)}, which were made from all real images: a half would know the "
            "other half; only methods without such files can be audited"
        )
    options.setdefault("compile", "off")
    recipe = DistillRecipe(method.__name__, method, options, int(number), precision, device)  # type: ignore[arg-type]
    try:
        recipe.build()
    except TypeError as error:
        raise ValueError(f"model.init_args do not fit {method.__name__}: {error}") from error
    return recipe


def read_data(config: Config) -> ArrayDataModule:
    """Return the data module of a configuration.

    Args:
        config: Path of a YAML file of ``fit`` with a section ``data``, or its content.

    Raises:
        ValueError: The configuration names no data module.
    """
    content = config if isinstance(config, Mapping) else {}
    if isinstance(config, str | os.PathLike) and str(config) not in PICKS:
        content = _read_yaml(Path(config))
    section = content.get("fit", content).get("data")
    if not isinstance(section, Mapping) or not section.get("class_path"):
        raise ValueError("the configuration has no section data; name the data, e.g. --data DigitsDataModule")
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ArrayDataModule, "data")
    parsed = parser.parse_object({"data": {key: section[key] for key in ("class_path", "init_args") if key in section}})
    return cast(ArrayDataModule, parser.instantiate_classes(parsed).data)


def recipe_of_card(card: Mapping[str, object], device: str = "cpu") -> Recipe:
    """Return the recipe that a card records.

    Args:
        card: Card of a set.
        device: Device of the distillation.

    Raises:
        ValueError: The card does not name a method of this package with its arguments and steps.
    """
    name, options, steps = card.get("method"), card.get("hyper_parameters"), card.get("steps")
    known = isinstance(name, str) and (name in METHODS or hasattr(distillers, name))
    if not isinstance(name, str) or not known or not isinstance(options, Mapping):
        raise ValueError(f"the card does not say how the set was distilled (method {name!r}); give the configuration")
    if name in METHODS:
        if (options.get("ratio", "balanced"), options.get("space", "pixels")) != ("balanced", "pixels"):
            raise ValueError(
                f"the set was picked by {name} with another ratio or space; only balanced picks by pixels are repeated"
            )
        formation, seed = int(options.get("formation", 1)), int(options.get("seed", 0))
        return PickRecipe(name, name, options.get("ipc", 10), formation, seed)
    recipe = read_recipe(
        {"model": {"class_path": name, "init_args": dict(options)}, "trainer": {"max_steps": steps}}, device=device
    )
    record = card.get("soft_labels")
    if not isinstance(record, Mapping) or not isinstance(recipe, DistillRecipe):
        return recipe
    try:
        labels = {name: kind(record[name]) for name, kind in SOFT_LABELS.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError("the card does not say how the soft labels were made; give the configuration") from error
    return replace(recipe, **labels)  # type: ignore[arg-type]


def fitted_to(recipe: Recipe, data: ArrayDataModule) -> Recipe:
    """Return a recipe whose sub-images are those of the whole data, also where a half would get others.

    Args:
        recipe: Recipe of the sets.
        data: Data module with all images.
    """
    if not isinstance(recipe, DistillRecipe):
        return recipe
    distiller = recipe.build()
    distiller.resolve_preset(data)
    return replace(recipe, options={**recipe.options, "formation": distiller.formation})


def check_halves(recipe: Recipe, members: Members, halves: NDArray[np.bool_]) -> None:
    """Raise ValueError for a recipe that a half has too few images of a class for; the message names the class.

    Args:
        recipe: Recipe of the sets, fitted to the data.
        members: Candidates.
        halves: Membership ``(N, n)``.
    """
    if not isinstance(recipe, DistillRecipe):
        return
    distiller, spec = recipe.build(), members.spec
    if distiller.init == "noise" or distiller.class_ratio != "balanced":
        return
    counts = images_per_class(distiller.ipc, spec)
    for half in halves:
        available = np.bincount(members.strata[half & (members.strata >= 0)], minlength=len(counts))
        try:
            limit_to_available(counts, available, spec, distiller.on_small_class, distiller.formation or 1)
        except ValueError as error:
            raise ValueError(f"in a random half of the patients {error}") from error


def check_belongs(recipe: Recipe, members: Members, synthetic: LabeledSet, card: Mapping[str, object]) -> None:
    """Raise ValueError for a finished set that was not made from the data, or not by the recipe.

    Args:
        recipe: Recipe of the shadow sets, fitted to the data.
        members: Images that the set is said to be made from, and held-out images.
        synthetic: Finished set.
        card: Its card.
    """
    check_members(members, synthetic.spec, card)
    if isinstance(recipe, FullRecipe):
        raise ValueError("full makes no set; leave the set out, or leave the configuration out: the card holds it")
    if isinstance(recipe, PickRecipe):
        made: dict[str, object] = {"method": recipe.method, "formation": recipe.formation, "ipc": recipe.ipc}
        options: dict[str, object] = {}
    else:
        assert isinstance(recipe, DistillRecipe)
        options = dict(recipe.build().hparams)
        made = {"method": recipe.method.__name__, "steps": recipe.steps, "formation": recipe.options["formation"]}
        names = ("ipc", "lr", "init", "seed", "preset", "class_ratio", "network")
        made |= {name: options.get(name) for name in names}
    soft = isinstance(recipe, DistillRecipe) and (recipe.teachers or options.get("soft_labels"))
    if synthetic.soft_labels is not None and not soft:
        raise ValueError(
            "the set has soft labels, the configuration makes none; leave the configuration out: the card holds the "
            "recipe, or audit the set with its hard labels"
        )
    recorded = card.get("hyper_parameters")
    recorded = recorded if isinstance(recorded, Mapping) else {}
    found = {**recorded, "method": card.get("method"), "steps": card.get("steps"), "formation": synthetic.formation}
    for name, value in made.items():
        if name in found and found[name] != value:
            raise ValueError(
                f"the set was made with {name}={found[name]!r}, the configuration says {value!r}; change it, or leave "
                "the configuration out: the card holds it"
            )


def _read_yaml(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no configuration {path}; give the YAML file of `lightning-distill fit`, or one of "
            f"{', '.join(PICKS)}"
        )
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path.name} is not a YAML file: {str(error).splitlines()[0]}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path.name} is not the configuration of `lightning-distill fit`")
    return content


def _find_method(class_path: object) -> type[Distiller]:
    if isinstance(class_path, type) and issubclass(class_path, Distiller):
        return class_path
    module, _, name = str(class_path).rpartition(".")
    try:
        found = getattr(import_module(module) if module else distillers, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"there is no method {class_path!r}; give the class of a distiller") from error
    if not (isinstance(found, type) and issubclass(found, Distiller)):
        raise ValueError(f"{class_path!r} is no distiller; give a class such as lightning_distill.DMDistiller")
    return found
