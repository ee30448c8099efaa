"""Types of the options that the methods pass on to their base classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

from lightning_distill.distillers.presets import PresetName
from lightning_distill.functional.compile import CompileMode
from lightning_distill.objectives import Distance
from lightning_distill.sets.coresets import Ratio
from lightning_distill.sets.synthetic import SmallClass

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack
else:

    class Unpack:
        """``typing.Unpack`` for type checkers; ``Any`` at run time.

        jsonargparse (checked on 4.53) takes no defaults from a TypedDict. Behind ``Any`` it follows
        ``super().__init__(**options)`` and finds type, default and help of each option in the base class.
        """

        def __class_getitem__(cls, item: object) -> Any:
            return Any


class DistillerOptions(TypedDict, total=False):
    """Options of `Distiller` that no method changes."""

    preset: PresetName
    momentum: float
    formation: int | None
    network: str
    weights: dict[str, str] | None
    latent: str | None
    seed: int
    on_small_class: SmallClass
    class_ratio: Ratio
    gradient_clip: float | None
    lr_schedule: Literal["constant", "cosine"]
    compile: CompileMode
    chunk: int | None


class KRROptions(TypedDict, total=False):
    """Options of `Distiller` that `KRRDistiller` does not change."""

    preset: PresetName
    momentum: float
    formation: int | None
    network: str
    latent: str | None
    augmentation: str | None
    seed: int
    on_small_class: SmallClass
    class_ratio: Ratio
    gradient_clip: float | None
    compile: CompileMode
    chunk: int | None


class MTTOptions(DistillerOptions, total=False):
    """Options of `Distiller` that `MTTDistiller` does not change."""

    init: str | None
    augmentation: str | None


class DMOptions(DistillerOptions, total=False):
    """Options of `Distiller` that `DMDistiller` does not change."""

    lr: float | None
    init: str | None
    augmentation: str | None


class IDMOptions(DistillerOptions, total=False):
    """Options of `DMDistiller` and `Distiller` that `IDMDistiller` does not change."""

    objective: str
    init: str | None
    augmentation: str | None


class DSAOptions(DistillerOptions, total=False):
    """Options of `DCDistiller` that `DSADistiller` does not change."""

    distance: Distance
    collective: bool
    outer_loop: int | None
    inner_loop: int | None
    network_lr: float
    gradient_precision: Literal["32-true", "bf16-mixed"] | None
