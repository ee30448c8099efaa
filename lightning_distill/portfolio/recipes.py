"""Recipes that `distill` tries: a method with the options that were measured to work within minutes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lightning_distill.distillers import Distiller, DMDistiller, KRRDistiller
from lightning_distill.distillers.presets import MIN_SIDE
from lightning_distill.spec import DataSpec

#: Networks that KRR has in its pool beside its own where receivers are not known to train others: in about the same
#: time ConvNets learn as much from the set, and a residual network that is not in the pool learns more, see
#: `benchmarks/results/architectures.csv`.
OTHER_NETWORKS = ("lenet", "mlp")


@dataclass(frozen=True)
class Recipe:
    """A method with its options.

    Args:
        name: Name in tables, folders and cards.
        method: Class of the distiller.
        options: Keyword arguments of the distiller beside ipc, network and seed.
        formation: Number of sub-images along each side of a stored image.
        networks_argument: Argument of the distiller for other networks beside its own, where it has one: those of the
            students, or `OTHER_NETWORKS`.

    Example:
        >>> RECIPES["dm_f2"].build(ipc=1, network="convnet_w16", seed=0).formation
        2
    """

    name: str
    method: Callable[..., Distiller]
    options: Mapping[str, object] = field(default_factory=dict)
    formation: int = 1
    networks_argument: str | None = None

    def build(self, other_networks: Sequence[str] | None = None, **options: object) -> Distiller:
        """Return a new distiller.

        Args:
            other_networks: Networks of students beside the network of the distiller; ``None`` gives a recipe that takes
                other networks those of `OTHER_NETWORKS`.
            options: Keyword arguments that hold for every recipe, such as ipc, network and seed.
        """
        own: dict[str, object] = {**self.options, "formation": self.formation}
        if self.networks_argument:
            others = OTHER_NETWORKS if other_networks is None else other_networks
            own[self.networks_argument] = [name for name in others if name != options.get("network")] or None
        return self.method(**{**options, **own})


def _by_name(*recipes: Recipe) -> dict[str, Recipe]:
    return {recipe.name: recipe for recipe in recipes}


#: Recipes in the order in which a short budget keeps them, as measured in `benchmarks/results/quality.csv`: KRR leads
#: at one image per class on all data sets there, and at ten on most.
RECIPES: dict[str, Recipe] = _by_name(
    Recipe("krr_f2", KRRDistiller, {"init": "herding"}, formation=2, networks_argument="pool_networks"),
    Recipe("dm_f2", DMDistiller, {"init": "herding", "lr": 4.0}, formation=2),
    Recipe("krr", KRRDistiller, {"init": "herding"}, networks_argument="pool_networks"),
    Recipe("dm", DMDistiller, {"init": "herding", "lr": 1.0}),
)
#: Images per class up to which a recipe with sub-images was better than the same one without on all data sets of
#: `benchmarks/results/quality.csv`, so that the latter is not tried.
SUB_IMAGES_WIN = 20


def select_recipes(names: Sequence[str] | None, spec: DataSpec, ipc: int) -> list[Recipe]:
    """Return the recipes with the given names that fit the images.

    Args:
        names: Names of `RECIPES`. ``None`` takes those with sub-images; all where images are too small for them or
            there are more than `SUB_IMAGES_WIN` images per class.
        spec: Specification of the data.
        ipc: Images per class, the largest number of a list.

    Raises:
        ValueError: A name is unknown, or no recipe fits the images.
    """
    if unknown := [name for name in names or () if name not in RECIPES]:
        raise ValueError(f"unknown recipe {unknown[0]!r}; use any of {', '.join(RECIPES)}")
    chosen = [RECIPES[name] for name in (names or RECIPES)]
    fitting = [r for r in chosen if r.formation == 1 or min(spec.shape[1:]) // r.formation >= MIN_SIDE]
    if not fitting:
        raise ValueError(
            f"images of {spec.shape[1]} x {spec.shape[2]} pixels are too small for "
            f"{', '.join(r.name for r in chosen)}; add a recipe without sub-images, such as dm"
        )
    with_sub_images = [recipe for recipe in fitting if recipe.formation > 1]
    return with_sub_images if names is None and with_sub_images and ipc <= SUB_IMAGES_WIN else fitting
