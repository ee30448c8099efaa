"""``Guarantee``: what a noisy bank guarantees, and what it does not, in words for cards."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from lightning_distill.signals.guarantee.accountant import Mechanism

Unit = Literal["image", "patient"]
Counts = Literal["public", "noisy"]
#: What no noisy bank covers.
NOT_COVERED = (
    "the list of class names",
    "choices made by looking at the data: which data are used, options, the best of several sets on a validation split",
    "floating-point attacks on the noise (Mironov 2012): the noise is drawn in double precision",
)


@dataclass(frozen=True)
class Guarantee:
    """Terms of an (epsilon, delta) guarantee.

    Args:
        epsilon: Epsilon by the PRV accountant, of this release alone.
        epsilon_rdp: Epsilon by the RDP accountant, a cross-check.
        epsilon_total: Epsilon of this release and the earlier ones of the same data.
        delta: Delta of all epsilons.
        unit: What is added or removed: ``image`` or ``patient``.
        clip: Largest L2 norm that a unit adds to the sums of a draw.
        draws: Number of noisy samples.
        sigma: Noise multiplier of each class; noise has the standard deviation ``sigma * clip``.
        rate: Sampling probability of each class.
        counts: Whether class counts are declared ``public``, or ``noisy`` and charged.
        counts_sigma: Standard deviation of the noise of the counts; 0 for public ones.
        earlier: Number of earlier releases of the same data.
        earlier_mechanisms: Their mechanisms, for each class.
    """

    epsilon: float
    epsilon_rdp: float
    epsilon_total: float
    delta: float
    unit: Unit
    clip: float
    draws: int
    sigma: tuple[float, ...]
    rate: tuple[float, ...]
    counts: Counts
    counts_sigma: float = 0.0
    earlier: int = 0
    earlier_mechanisms: tuple[tuple[tuple[float, float, int], ...], ...] = ()

    def mechanisms(self) -> list[list[Mechanism]]:
        """Return the mechanisms that touch a unit of each class, with those of earlier releases."""
        share = count_sensitivity(self.unit, len(self.sigma))
        own = [
            [Mechanism(sigma, rate, self.draws)]
            + ([Mechanism(self.counts_sigma / share, 1.0, 1)] if self.counts_sigma else [])
            for sigma, rate in zip(self.sigma, self.rate, strict=True)
        ]
        earlier = self.earlier_mechanisms or ((),) * len(own)
        return [[*map(Mechanism._make, before), *now] for before, now in zip(earlier, own, strict=True)]

    def to_dict(self) -> dict[str, Any]:
        """Return numbers and words for a card."""
        return {**asdict(self), "words": self.words(), "not_covered": list(NOT_COVERED)}

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Guarantee:
        """Return the guarantee of a card."""
        fields = {name: state[name] for name in cls.__dataclass_fields__ if name in state}
        for name in ("sigma", "rate"):
            fields[name] = tuple(fields[name])
        earlier = fields.get("earlier_mechanisms", ())
        fields["earlier_mechanisms"] = tuple(tuple((s, r, int(n)) for s, r, n in rows) for rows in earlier)
        return cls(**fields)

    def words(self) -> str:
        """Return the guarantee in words."""
        unit = "image" if self.unit == "image" else "patient (all images together)"
        rates = _range(self.rate, "{:.3g}")
        sigmas = _range(self.sigma, "{:.3g}")
        counts = (
            "The class counts are declared public."
            if self.counts == "public"
            else f"The class counts carry noise of standard deviation {self.counts_sigma:.3g}, which is charged."
        )
        total = (
            f" Together with {self.earlier} earlier release(s) of the same data epsilon is {self.epsilon_total:.2f}."
            if self.earlier
            else ""
        )
        return (
            f"One {unit} more or less in the data changes the probability of any outcome by a factor of at most "
            f"e^{self.epsilon:.2f}, up to {self.delta:g}: epsilon {self.epsilon:.2f}, delta {self.delta:g}, by the PRV "
            f"accountant ({self.epsilon_rdp:.2f} by RDP).{total} Each of {self.draws} draws samples every {self.unit} "
            f"with probability {rates} (Poisson), scales what it adds to the sums to a length of at most "
            f"{self.clip:g}, and adds Gaussian noise of {sigmas} times that length. {counts} All that is computed from "
            "the bank afterwards is covered."
        )


def count_sensitivity(unit: Unit, classes: int) -> float:
    """Return how far one unit moves the class counts: an image one of them, a patient possibly all of them."""
    return classes**0.5 if unit == "patient" else 1.0


def _range(values: tuple[float, ...], form: str) -> str:
    low, high = form.format(min(values)), form.format(max(values))
    return low if low == high else f"{low} to {high}"
