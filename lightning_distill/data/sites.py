"""``SitesDataModule``: one site of a data set partitioned into several, to simulate hospitals that share sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.describe import DataInfo
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import derive_seed

Rows = NDArray[np.int64]


def class_shares(classes: int, shares: Sequence[float], balance: float | None, seed: int) -> NDArray[np.float64]:
    r"""Fraction of every class at each site, drawn as in the Dirichlet partitions of federated learning.

    :math:`p_{ks} \propto w_s\, g_{ks}` with site sizes w and gamma variates g of shape ``balance``. The smaller
    ``balance`` is, the more each class is concentrated at one site.

    Args:
        classes: Number of classes K.
        shares: Relative sizes w of the S sites, all above 0.
        balance: Shape of the gamma distribution: about 0.3 is very uneven, 2 uneven, 10 close to the class frequencies
            of the whole data set. ``None`` keeps these frequencies exactly.
        seed: Seed of g.

    Returns:
        Fractions ``(K, S)``; each row sums to 1.

    Reference:
        Hsu et al.: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification,
        arXiv 1909.06335.
    """
    sizes = np.asarray(shares, np.float64)[None].repeat(classes, 0)  # (K, S)
    if balance is not None:
        random = np.random.default_rng(derive_seed("sites", seed))
        sizes = sizes * np.maximum(random.gamma(balance, size=sizes.shape), 1e-6)
    return np.asarray(sizes / sizes.sum(1, keepdims=True))


def site_of(labels: Rows, groups: Rows | None, shares: NDArray[np.float64], seed: int) -> Rows:
    """Assign every image to a site, by whole groups, so that no patient is at two sites.

    The units that are assigned are groups, or images where there are no groups. A group counts for the class of most
    of its images. A class with at least S units has at least one unit at each of the S sites.

    Args:
        labels: Class numbers ``(N,)``.
        groups: Group numbers ``(N,)`` of patients or lesions, or ``None``.
        shares: Fractions ``(K, S)`` of every class at each site, see `class_shares`.
        seed: Seed of the order in which units are assigned.

    Returns:
        Site numbers ``(N,)``.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    votes = np.zeros((int(units.max()) + 1, len(shares)), np.int64)
    np.add.at(votes, (units, labels), 1)
    unit_classes, sites = votes.argmax(1), np.zeros(len(votes), np.int64)
    for label, share in enumerate(shares):
        random = np.random.default_rng(derive_seed("deal", seed, label))
        members = random.permutation(np.flatnonzero(unit_classes == label))
        if len(members) >= len(share):
            counts = 1 + np.floor(share * (len(members) - len(share))).astype(np.int64)
        else:
            counts = np.zeros(len(share), np.int64)
        remainder = len(members) - int(counts.sum())  # less than the number of sites
        counts[np.argsort(-share, kind="stable")[:remainder]] += 1
        sites[members] = np.repeat(np.arange(len(share)), counts)
    return sites[units]


class SitesDataModule(ArrayDataModule):
    """One site of a data set that is partitioned into sites of unequal size and class balance.

    ``lightning-distill fit --data SitesDataModule --data.data MedMNISTDataModule --data.data.name breastmnist
    --data.site 0`` distills at the first site; ``concat`` joins the sets of the sites, and ``evaluate --test_data``
    scores them at every site.

    Args:
        data: Data module to partition. Each of its splits is partitioned, by whole groups where it has groups.
        site: Number of the site, counted from 0.
        shares: Relative sizes of the sites.
        balance: Similarity of the class frequencies of the sites, see `class_shares`. At 1, a site may have few test
            images of one class. ``None`` gives all sites the same frequencies.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        seed: Seed of the partition, which must be equal for all sites, and of the batches.

    Raises:
        ValueError: If the site does not exist or shares are not above 0, and on first use if the data are multi-label
            or the site has no images.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> data = SitesDataModule(DigitsDataModule(), site=0, shares=[0.7, 0.3])
        >>> data.spec.name, data.spec.source
        ('digits_site0', 'shipped with scikit-learn, site 0 of 2')
    """

    def __init__(
        self,
        data: ArrayDataModule,
        site: int,
        *,
        shares: list[float] = [0.6, 0.3, 0.1],  # noqa: B006  (never changed; --help shows the default)
        balance: float | None = 2.0,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= site < len(shares):
            raise ValueError(f"site={site}; there are {len(shares)} sites, counted from 0")
        if min(shares) <= 0 or (balance is not None and balance <= 0):
            raise ValueError(f"shares={shares}, balance={balance}; all must be above 0")
        super().__init__(
            channels="first",
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
        )
        self.whole, self.site, self.shares, self.balance = data, site, list(shares), balance

    @property
    def reproducible_args(self) -> dict[str, object]:
        """Constructor arguments that reproduce this data module: those of the whole data, and the partition."""
        whole = {f"data.{key}": value for key, value in self.whole.reproducible_args.items()}
        cut = {"site": self.site, "shares": self.shares, "balance": self.balance, "seed": self.seed}
        return {"data": type(self.whole).__name__, **whole, **cut}

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Select the images of this site in every split.

        Returns:
            Images and labels of the site by split.
        """
        spec = self.whole.spec
        if spec.multi_label:
            raise ValueError(
                f"{spec.name} is multi-label, but sites need one class per image; set combinations_as_classes=True"
            )
        shares = class_shares(spec.num_classes, self.shares, self.balance, self.seed)
        self._class_names = spec.class_names
        source = f"{spec.source}, site {self.site} of {len(self.shares)}"
        self._info = DataInfo(
            f"{spec.name}_site{self.site}", spec.task, spec.augmentation, spec.license, source, spec.resize
        )
        self.group_kind = self.whole.group_kind
        selected: dict[str, tuple[Array, Array] | None] = {}
        for split, (images, labels) in self.whole.splits.items():
            groups = self.whole.groups.get(split)
            rows = np.flatnonzero(site_of(labels, groups, shares, self.seed) == self.site)
            if not len(rows):
                raise ValueError(f"site {self.site} has none of the {len(labels)} {split} images; raise its share")
            selected[split] = take(images, rows), labels[rows]
            if groups is not None:
                self.groups[split] = groups[rows]
        return selected
