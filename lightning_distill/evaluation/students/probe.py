"""Students with a frozen pretrained encoder: a linear layer fitted to cached features."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_distill.evaluation.students.protocol import Protocol
from lightning_distill.evaluation.students.trainer import Student
from lightning_distill.functional.build import build_functional_network, loss_for_task
from lightning_distill.functional.network import Parameters
from lightning_distill.networks.pretrained import is_pretrained
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec, Task
from lightning_distill.utils.progress import ProgressCallback

#: Bytes of features that are kept; the features used least recently are removed first.
CACHE_BYTES = 2**28
#: Inverse strength C of the penalty, as in scikit-learn's ``LogisticRegression``. Chosen on validation images of
#: BreastMNIST (best: 1), PneumoniaMNIST and DermaMNIST (best: 10) among 0.5, 1, 3, 10 and 100.
INVERSE_PENALTY = 3.0
#: Largest number of iterations of L-BFGS.
ITERATIONS = 300


class FeatureCache:
    """Features by the content of their image, up to a number of bytes.

    Args:
        max_bytes: Largest size of all features together.

    Example:
        >>> cache = FeatureCache()
        >>> embed = lambda x: x.flatten(1)
        >>> cache.features("encoder", embed, torch.ones(2, 1, 2, 2)).shape, len(cache)
        (torch.Size([2, 4]), 1)
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._features: OrderedDict[bytes, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._features)

    def features(self, encoder: str, embed: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Return features ``(B, F)`` float32 on the CPU; only images that are not in the cache are embedded.

        Args:
            encoder: Name of the encoder, with everything that its features depend on.
            embed: Function from images ``(B, C, H, W)`` to features ``(B, F)``.
            x: Images ``(B, C, H, W)``.
        """
        keys = [_digest(encoder, image) for image in x.cpu().contiguous()]
        missing = {key: row for row, key in enumerate(keys) if key not in self._features}
        new: dict[bytes, Tensor] = {}
        if missing:
            rows = torch.tensor(list(missing.values()), device=x.device)
            new = dict(zip(missing, embed(x[rows]).float().cpu(), strict=True))
        result = torch.stack([new[key] if key in new else self._features[key] for key in keys])
        for key in keys:
            if key in self._features:
                self._features.move_to_end(key)
            else:
                self._features[key] = new[key].clone()  # a row of its own, not of the whole batch
                self._bytes += self._features[key].nbytes
        while self._bytes > self.max_bytes:
            self._bytes -= self._features.popitem(last=False)[1].nbytes
        return result


#: Cache of this process. Names of encoders carry the digest of their weights, so an entry is valid everywhere.
CACHE = FeatureCache()


class FrozenEncoder:
    """Pretrained encoder with the features of all images that it has seen.

    Args:
        architecture: Name of a pretrained network, as returned by `networks.resolve_networks`.
        spec: Channels and image size, and the statistics that images are normalised by.
        device: Device of the encoder.
        bf16: Whether the forward pass runs in bfloat16.
        cache: Cache of features.
    """

    def __init__(
        self,
        architecture: str,
        spec: DataSpec,
        device: torch.device | str = "cpu",
        bf16: bool = False,
        cache: FeatureCache = CACHE,
    ) -> None:
        self.device, self.bf16, self.cache = torch.device(device), bf16, cache
        self.network = build_functional_network(architecture, spec, 0.0, self.device, "off", sizes=())
        with torch.random.fork_rng(devices=[]):
            self.parameters = self.network.init_params(self.device)
        statistics = spec.mean, spec.std, spec.min_value, spec.max_value
        self._name = f"{architecture} {statistics} {self.device.type} {bf16}"

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """Return features ``(B, F)`` float32 on the CPU of normalised images ``(B, C, H, W)``."""
        return self.cache.features(self._name, self._embed, x)

    def _embed(self, x: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return self.network.embed(self.parameters, x.to(self.device))


@dataclass
class ProbeStudent(Student):
    """A frozen encoder with a fitted linear layer; scores use the encoder's cached features.

    Args:
        encoder: Frozen encoder.
    """

    encoder: FrozenEncoder = field(kw_only=True)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return logits ``(B, K)`` float32 for normalised images ``(B, C, H, W)``."""
        weight, bias = (self.parameters[f"network.head.{name}"] for name in ("weight", "bias"))
        logits = torch.nn.functional.linear(self.encoder(x).to(x.device), weight.to(x.device), bias.to(x.device))
        return logits if self.logit_offset is None else logits + self.logit_offset.to(logits.device)


class ProbeTrainer:
    """Trainer of students that fit a linear layer to the features of a frozen encoder.

    The fit has one solution: students of the same set are equal, whatever their seed, and their spread is zero. The
    features of an image are computed once in a process.

    Args:
        architecture: Name of a pretrained network, as returned by `networks.resolve_networks`.
        spec: Channels, image size and classes of the data, and the mean and std to normalise by.
        protocol: Training protocol; its batch size is that of the encoder.
        device: Device of the encoder; the linear layer is fitted on the CPU.
        bf16: Whether the encoder runs in bfloat16.
    """

    def __init__(
        self,
        architecture: str,
        spec: DataSpec,
        protocol: Protocol,
        device: torch.device | str = "cpu",
        bf16: bool = False,
    ) -> None:
        self.architecture, self.spec, self.protocol, self.bf16 = architecture, spec, protocol, bf16
        self.encoder = FrozenEncoder(architecture, spec, device, bf16)

    def fit_many(
        self, data: Sequence[LabeledSet], seeds: Sequence[int], on_epoch: ProgressCallback = lambda: None
    ) -> list[Student]:
        """Fit one linear layer for each set; a set that several students share is fitted once.

        Args:
            data: Training set of each student.
            seeds: Seed of each student.
            on_epoch: Function that is called once for each student.
        """
        fitted: dict[int, Parameters] = {}
        students: list[Student] = []
        for part, seed in zip(data, seeds, strict=True):
            if id(part) not in fitted:
                fitted[id(part)] = self._fit(part)
            on_epoch()
            students.append(
                ProbeStudent(
                    self.architecture, seed, self.encoder.network, fitted[id(part)], self.bf16, encoder=self.encoder
                )
            )
        return students

    def _fit(self, data: LabeledSet) -> Parameters:
        rows = torch.arange(len(data.labels)).split(self.protocol.batch_size)
        batches = [self.spec.normalize(data.pixels[part].to(self.encoder.device)) for part in rows]
        features = torch.cat([self.encoder(x) for x in batches])
        weight, bias = fit_linear(features, data.targets.cpu(), self.spec.num_classes, self.spec.task)
        head = {"network.head.weight": weight, "network.head.bias": bias}
        return {**self.encoder.parameters, **{name: tensor.to(self.encoder.device) for name, tensor in head.items()}}


def fit_linear(
    features: Tensor, targets: Tensor, num_classes: int, task: Task, inverse_penalty: float = INVERSE_PENALTY
) -> tuple[Tensor, Tensor]:
    r"""Fit a linear layer by logistic regression with a penalty on its weights.

    .. math:: \min_{W, b} \sum_i \ell(W z_i + b, y_i) + \frac{1}{2C} \|W\|^2, \quad z_i = (f_i - \bar f) / s

    Features are centred and divided by one number s, so that the mean squared norm of z is one. Scaling each feature by
    its own standard deviation was worse with ten images a class: it magnifies features that are nearly constant.

    Args:
        features: Features ``(N, F)``.
        targets: Labels ``(N,)``, probabilities ``(N, K)``, or 0/1 rows ``(N, K)`` for multi-label data.
        num_classes: Number of classes K.
        task: Task of the labels, which decides on the loss.
        inverse_penalty: Inverse strength C of the penalty.

    Returns:
        Weights ``(K, F)`` and bias ``(K,)`` float32 for features as given, neither centred nor scaled.

    Example:
        >>> weight, bias = fit_linear(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), 2, "binary")
        >>> (torch.tensor([[0.2], [0.9]]) @ weight.T + bias).argmax(1).tolist()
        [0, 1]
    """
    loss = loss_for_task(task)
    f = features.double()
    mean = f.mean(0)
    scale = float((f - mean).square().sum(1).mean().sqrt()) or 1.0  # equal images: every feature is zero
    z = (f - mean) / scale
    y = targets.double() if targets.is_floating_point() else targets
    with torch.inference_mode(False), torch.enable_grad():
        z, y = z.clone(), y.clone()
        weight = torch.zeros(num_classes, f.shape[1], dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias],
            max_iter=ITERATIONS,
            tolerance_grad=1e-6,
            tolerance_change=1e-9,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            optimizer.zero_grad()
            penalty = weight.square().sum() / (2 * inverse_penalty)
            objective = (loss(z @ weight.T + bias, y, reduction="sum") + penalty) / len(z)
            objective.backward()
            return objective

        optimizer.step(closure)
    weight, bias = weight.detach() / scale, bias.detach()
    return weight.float(), (bias - weight @ mean).float()


def check_probe(architectures: Sequence[str]) -> None:
    """Raise ValueError if a network has no pretrained weights, so that a frozen encoder would be random."""
    if random := [name for name in architectures if not is_pretrained(name)]:
        raise ValueError(
            f"the protocol fits a linear layer to a pretrained network, {random[0]} has no weights; give "
            "weights={NAME: path of the file} for a timm model, or another protocol"
        )


def _digest(encoder: str, image: Tensor) -> bytes:
    content = hashlib.blake2b(encoder.encode(), digest_size=16)
    content.update(str(tuple(image.shape)).encode())
    content.update(image.detach().numpy().tobytes())
    return content.digest()
