"""Distribution matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, cast

import numpy as np
import torch
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._options import DMOptions, Unpack
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.presets import find_preset
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.distillers.signal_pool import SignalPool, batch_chunks
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.objectives.embedding import get_embedding_distance
from lightning_distill.signals import SignalBank, SignalDraws, SignalsDataModule
from lightning_distill.signals.datamodule import load_banks
from lightning_distill.signals.sums import class_chunks
from lightning_distill.spec import DataSpec
from lightning_distill.utils.arguments import check_number
from lightning_distill.utils.rng import derive_seed

#: Largest size of the statistics of a preset's pool, which every checkpoint holds, in bytes.
POOL_BYTES = 2**26
#: Smallest pool of a preset; fewer networks were not as good as new ones, see ``signal_pool.csv``.
MIN_POOL = 30


class DMDistiller(Distiller):
    """DM: match the embeddings of real and synthetic images of a class in random networks.

    By default each stored image holds four sub-images that start from herding picks, and lr is 4: the recipe of
    `benchmarks/results/dm_formation.csv`. The paper and its code match the means and run 20,000 steps from random real
    images with lr 1 (10 from ipc 100 on), momentum 0.5, 256 real images per class and a new network every step:
    ``preset="paper"``. With batch norm all classes go through one forward pass, so that batch statistics cover all of
    them.

    A *pool* of P random networks is used in turn, each every P steps. The class statistics of the real images are
    stored at the first use of a network; later steps embed synthetic images only. The default of 100 reaches the
    accuracy of new networks (`benchmarks/results/signal_pool.csv`). A *signal bank* is a file of such statistics and
    replaces the real images.

    Args:
        ipc: Images per class, one number or one for each class.
        objective: Distance of embeddings: ``mean`` (the paper's), ``moments`` (means and second moments),
            ``characteristic`` (characteristic functions, NCFM) or ``mmd`` (all moments, M3D), see
            `objectives.embedding`. With stored statistics ``mmd`` is estimated by random features.
        pool: Number P of random networks that are reused in turn; 0 draws a new network every step. ``None`` takes that
            of the preset: 100 by default (fewer where their statistics exceed 64 MiB), and 0 with ``preset="paper"``,
            another objective than ``mean``, batch norm, or a `surrogate` or `losses` of a subclass.
        pool_images: Real images whose statistics are stored: ``batch`` takes those of one batch, ``all`` takes all.
        signals: Files of `lightning-distill signals`, or banks, in place of real images; the networks, augmentation
            and objective are those of the banks, and the images start from noise.
        options: Other arguments of `Distiller`.

    Raises:
        ValueError: The objective is unknown, a pool has batch norm, or the banks do not fit.

    Example:
        >>> DMDistiller(ipc=1, network="convnet_w16").formation
        2
        >>> DMDistiller(ipc=1, network="convnet_w16", preset="paper").lr
        1.0

    Reference:
        Zhao, Bilen: Dataset Condensation with Distribution Matching, WACV 2023, arXiv 2110.04181.
        Wang et al.: Dataset Distillation with Neural Characteristic Function, CVPR 2025, arXiv 2502.20653.
        Zhang et al.: M3D, AAAI 2024, arXiv 2312.15927.
    """

    local_path_args: ClassVar[list[str]] = ["signals"]

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        objective: str = "mean",
        pool: int | None = None,
        pool_images: Literal["batch", "all"] = "batch",
        signals: list[str] | None = None,
        **options: Unpack[DMOptions],
    ) -> None:
        super().__init__(ipc=ipc, **options)
        self.embedding_distance = get_embedding_distance(objective)
        self.objective, self.pool_size, self.pool_images = objective, pool, pool_images
        if pool is not None:
            check_number("pool", pool, 0, integer=True)
            self.explicit["pool"] = pool
        self.signals: SignalPool | None = None
        self.bank: SignalBank | None = None
        self._new_sums: tuple[int, Tensor, Tensor] | None = None
        if signals is not None:
            self.use_bank(load_banks(signals))

    def use_bank(self, bank: SignalBank) -> None:
        """Take networks, augmentation, objective and statistics from a bank in place of real images.

        Raises:
            ValueError: An argument that was given contradicts the bank.
        """
        if self.explicit.get("init", "noise") != "noise":
            raise ValueError(f"init={self.explicit['init']!r}, but signal banks hold no real images; use init='noise'")
        if self.explicit.get("pool", bank.draws.count) != bank.draws.count:
            raise ValueError(f"pool={self.pool_size}, but the bank has {bank.draws.count} draws; leave pool out")
        self.bank = bank
        self.explicit |= {"init": "noise", "pool": bank.draws.count}
        self.init = "noise"
        self.network_name, self.augmentation = bank.draws.network, bank.draws.augmentation
        self.objective = bank.draws.objective
        names = {"network": bank.draws.network, "augmentation": bank.draws.augmentation, "objective": self.objective}
        self.save_hyperparameters({**names, "init": "noise", "pool": bank.draws.count})

    @property
    def real_data(self) -> ArrayDataModule:
        """Data module of the real images, or of the banks in their place."""
        given = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(given, SignalsDataModule) and self.bank is None:
            self.use_bank(given.bank)
        if self.bank is None or isinstance(given, SignalsDataModule):
            return super().real_data
        stand_in = SignalsDataModule(self.bank)
        stand_in.trainer = self.trainer
        return stand_in

    def train_dataloader(self) -> Any:
        """Return batches without images for a run on banks that has no data module."""
        return self.real_data.train_dataloader()

    def card_entries(self) -> dict[str, object]:
        """Return what a card says of the banks."""
        return {} if self.bank is None else {"signals": {**self.bank.draws.to_dict(), **self.bank.about}}

    def configure_network(self, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None) -> None:
        """Build the network and the augmentation, and the pool where there is one."""
        super().configure_network(datamodule, batch_sizes)
        self.configure_pool(datamodule.spec)

    def configure_pool(self, spec: DataSpec) -> None:
        """Make the pool of the bank, of the number of networks that was given, or of the preset's."""
        if self.bank is not None:
            self.signals = SignalPool(self.bank.draws, self.network, self.augment, spec, self.bank)
            return
        draws = self.pool_draws(spec, self.network)
        self.pool_size = 0 if draws is None else draws.count
        if "pool" not in self.fixed_args:
            self.save_hyperparameters({"pool": self.pool_size})
        self.signals = None if draws is None else SignalPool(draws, self.network, self.augment, spec)

    def pool_draws(self, spec: DataSpec, network: FunctionalNetwork) -> SignalDraws | None:
        """Return the draws of the pool of a run without banks; None where every step draws a new network.

        Args:
            spec: Description of the data.
            network: Network of the run.
        """
        count = int(self.explicit["pool"]) if "pool" in self.explicit else self._preset_pool(spec, network)
        preset = self.augmentation or spec.augmentation
        return SignalDraws(count, self.network_name, preset, self.objective, self.seed) if count else None

    def _preset_pool(self, spec: DataSpec, network: FunctionalNetwork) -> int:
        """Return the pool of the preset, smaller for many features; 0 where the method cannot or would not use it."""
        row = find_preset(type(self), self.preset, self.ipc, spec)
        replaced = any(getattr(type(self), name) is not getattr(DMDistiller, name) for name in ("surrogate", "losses"))
        if row is None or row.pool == 0 or replaced or network.batch_norm or self.objective != "mean":
            return 0
        count = min(row.pool, POOL_BYTES // (4 * len(spec.balance_groups) * network.num_features(spec.shape)))
        return count if count >= MIN_POOL else 0

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the pool of the checkpoint, and restore everything else."""
        if "pool" in self.fixed_args:
            super().on_load_checkpoint(checkpoint)
            return
        settings = checkpoint.get(self.CHECKPOINT_HYPER_PARAMS_KEY, {})
        settings["pool"] = settings.get("pool") or 0  # None in version 0.1.0: a new network every step
        super().on_load_checkpoint(checkpoint)
        if self.bank is None:
            self.explicit = {"pool": settings["pool"]} | self.explicit
            if hasattr(self, "network"):
                self.configure_pool(self.synthetic.spec)

    def surrogate(self) -> Parameters:
        """Return the parameters of the network of this step: a new random network."""
        return self.network.init_params(self.device)

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield the distances of embeddings, summed over the classes of one forward pass."""
        if self.signals is not None:
            yield from self._stored_losses(real, self.signals)
            return
        parameters = self.surrogate()
        targets: dict[int, Tensor] = {}
        for labels in self.class_groups([real.per_class] * len(real.spec.balance_groups)):
            targets |= dict(zip(labels, self._embed_real(parameters, real, labels), strict=True))
        for labels in self.class_groups(self.synthetic.counts):
            embedded = self.network.embed(parameters, self.augmented(labels))
            parts = embedded.split([self.synthetic.counts[label] for label in labels])
            pairs = zip(labels, parts, strict=True)
            yield torch.stack([self._distance(label, targets[label], part) for label, part in pairs]).sum()

    def after_step(self, real: RealBatch) -> None:
        """Store the statistics of the real images of a draw that was used for the first time."""
        if self._new_sums is None or self.signals is None:
            return
        draw, sums, counts = self._new_sums
        reduce = self.trainer.strategy.reduce  # every rank summed its own classes
        sums, counts = (cast(Tensor, reduce(rows, reduce_op="sum")) for rows in (sums, counts))
        self.extra_state = self.signals.stored(draw, sums, counts, self.extra_state)
        self._new_sums = None

    def augmented(self, labels: Sequence[int]) -> Tensor:
        """Return the synthetic images of some classes under the transformations of this step."""
        images = torch.cat([self.synthetic.of_class(label) for label in labels])
        counts = [self.synthetic.counts[label] for label in labels]
        return self.augment.of_classes(images, counts, self.class_seeds(labels))

    def class_seeds(self, labels: Sequence[int]) -> list[int]:
        """Return the seeds of the random transformations of some classes in this step."""
        if self.signals is None:
            return super().class_seeds(labels)
        return self.signals.draws.class_seeds(self.signals.draw_at(self.global_step), labels)

    def _stored_losses(self, real: RealBatch, pool: SignalPool) -> Iterator[Tensor]:
        """Yield the distances of the mean statistics, summed over the classes of one forward pass."""
        draw = pool.draw_at(self.global_step)
        parameters, statistic = members = pool.members(draw, self.device)
        means = pool.known_means(draw, self.extra_state, self.device)
        if means is None:
            sums, counts = pool.sum_chunks(draw, self._real_chunks(real), members)
            self._new_sums = draw, sums, counts
            means = sums / counts[:, None].clamp(min=1)  # a rank has no images of the classes of other ranks
        for labels in self.class_groups(self.synthetic.counts):
            features = statistic.features(self.network.embed(parameters, self.augmented(labels)))
            parts = features.split([self.synthetic.counts[label] for label in labels])
            yield statistic.distance(means[labels], torch.stack([part.mean(0) for part in parts])).sum()

    def _real_chunks(self, real: RealBatch) -> Iterator[Any]:
        """Yield the real images of the classes of this rank whose statistics are stored, in chunks."""
        classes = len(real.spec.balance_groups)
        groups = self.class_groups([real.per_class] * classes)
        if self.pool_images == "all":
            images, numbers = self.real_data.train_arrays()
            own = np.flatnonzero(np.isin(numbers, [label for labels in groups for label in labels]))
            yield from class_chunks(images, numbers, real.spec, self.device, rows=own)
            return
        for labels in groups:
            yield from batch_chunks(real.iter_chunks(labels), labels, classes)

    def _distance(self, label: int, real: Tensor, synthetic: Tensor) -> Tensor:
        if self.objective != "mean":  # the means need no random numbers, and a seed takes time
            torch.default_generator.manual_seed(derive_seed(self.seed, self.global_step, label, "objective"))
        return self.embedding_distance(real, synthetic)

    @torch.no_grad()
    def _embed_real(self, parameters: Parameters, real: RealBatch, labels: Sequence[int]) -> Tensor:
        """Return embeddings ``(L, B, F)``, float32, of the real images of L classes, or their means ``(L, 1, F)``."""
        parts = [real.of_classes(labels)] if self.network.batch_norm else real.iter_chunks(labels)
        embedded = []
        for x in parts:
            x = self.augment.of_classes(x, [len(x) // len(labels)] * len(labels), self.class_seeds(labels))
            rows = self.network.embed(parameters, x).unflatten(0, (len(labels), -1)).float()
            embedded.append(rows.sum(1, keepdim=True) if self.objective == "mean" else rows)
        if self.objective == "mean":  # a mean needs no memory for every image
            return torch.stack(embedded).sum(0) / real.per_class
        return torch.cat(embedded, 1)
