"""One data set cut into the data of several sites, to try what hospitals that share sets would get."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import derive_seed

Rows = NDArray[np.int64]


def class_shares(classes: int, shares: Sequence[float], balance: float | None, seed: int) -> NDArray[np.float64]:
    r"""Which share of every class each site has, ``(K, S)``, rows adding up to one.

    :math:`p_{ks} \propto w_s\, g_{ks}`, w the sites' sizes and g gamma variates of shape ``balance``: the smaller that
    is, the more classes are a matter of one site, as in the Dirichlet partitions of federated learning.

    Args:
        classes: K.
        shares: w, S numbers above zero.
        balance: around 0.3 very uneven, 2 uneven, 10 nearly as in the whole; ``None`` exactly as in the whole.
        seed: of g.

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
    """The site of every image, ``(N,)``: whole groups where there are any, so that no patient is at two sites.

    A group belongs to the class that most of its images have. Every site gets at least one unit of each class that has
    as many units as there are sites.

    Args:
        labels: ``(N,)``.
        groups: ``(N,)`` of patients or lesions, or ``None``.
        shares: ``(K, S)``, see `class_shares`.
        seed: of the order in which units are dealt out.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1].reshape(-1)
    votes = np.zeros((int(units.max()) + 1, len(shares)), np.int64)
    np.add.at(votes, (units, labels), 1)
    of_unit, sites = votes.argmax(1), np.zeros(len(votes), np.int64)
    for label, share in enumerate(shares):
        members = np.random.default_rng(derive_seed("deal", seed, label)).permutation(np.flatnonzero(of_unit == label))
        if len(members) >= len(share):
            counts = 1 + np.floor(share * (len(members) - len(share))).astype(np.int64)
        else:
            counts = np.zeros(len(share), np.int64)
        left = len(members) - int(counts.sum())  # fewer than there are sites
        counts[np.argsort(-share, kind="stable")[:left]] += 1
        sites[members] = np.repeat(np.arange(len(share)), counts)
    return sites[units]


class SitesDataModule(ArrayDataModule):
    """One site's part of a data set that is cut into several of unequal size and class balance.

    ``lightning-distill fit --data SitesDataModule --data.data MedMNISTDataModule --data.data.name breastmnist
    --data.site 0`` distils at the first site; ``concat`` puts the sites' sets together, and ``evaluate --test_data``
    scores them at every site.

    Args:
        data: what is cut; each of its splits is, by its groups where it has some.
        site: which part, counted from 0.
        shares: sizes of the sites, in any unit.
        balance: how alike the sites' class shares are, see `class_shares`; at 1 a site of two classes may be left with
            a handful of test images.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        seed: of the cut, which all sites must share, and of the draws.

    Raises:
        ValueError: a site there is none of, shares that are not above zero, multi-label data.
    """

    def __init__(
        self,
        data: ArrayDataModule,
        site: int,
        shares: list[float] = [0.6, 0.3, 0.1],  # noqa: B006  (never changed, and shown in the command's help)
        balance: float | None = 2.0,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        if not 0 <= site < len(shares):
            raise ValueError(f"site={site}; there are {len(shares)}, counted from 0")
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
        """How the whole is made, and the cut."""
        whole = {f"data.{key}": value for key, value in self.whole.reproducible_args.items()}
        cut = {"site": self.site, "shares": self.shares, "balance": self.balance, "seed": self.seed}
        return {"data": type(self.whole).__name__, **whole, **cut}

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """This site's images of every split."""
        spec = self.whole.spec
        if spec.multi_label:
            raise ValueError(f"{spec.name} is multi-label; sites are cut class by class: combinations_as_classes=True")
        shares = class_shares(spec.num_classes, self.shares, self.balance, self.seed)
        self._class_names = spec.class_names
        source = f"{spec.source}, site {self.site} of {len(self.shares)}"
        self._about = (f"{spec.name}_site{self.site}", spec.task, spec.augmentation, spec.license, source)
        self.group_kind = self.whole.group_kind
        found: dict[str, tuple[Array, Array] | None] = {}
        for split, (images, labels) in self.whole.splits.items():
            groups = self.whole.groups.get(split)
            rows = np.flatnonzero(site_of(labels, groups, shares, self.seed) == self.site)
            if not len(rows):
                raise ValueError(f"site {self.site} has no {split} images of {len(labels)}; raise its share")
            found[split] = take(images, rows), labels[rows]
            if groups is not None:
                self.groups[split] = groups[rows]
        return found
