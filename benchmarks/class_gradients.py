"""Compare two ways to compute one gradient per class (DC, DSA): a loop over classes, and ``vmap(grad)``.

    python benchmarks/class_gradients.py                # writes benchmarks/results/class_gradients.csv
    python benchmarks/class_gradients.py --quick        # tiny sizes, as a test

Ten classes of 3x32x32 noise, ConvNet depth 3 width 128, eager float32, 10 and 64 images per class: `loss_gradient` in
chunks, class by class, and `torch.func.vmap` of `torch.func.grad`, alternately; medians. ``difference`` is the largest
difference relative to the largest gradient. It is float32 rounding, which changes the sign of a few ReLU inputs (in
float64 the results agree to 1e-16). The package uses the faster way of each device.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from script import folder, options
from torch import Tensor
from torch.func import grad, vmap

from lightning_distill.bench.interleaved import InterleavedTimer
from lightning_distill.bench.results import TIME_COLUMNS, ResumableCsv, provenance
from lightning_distill.functional.chunking import auto_chunk_size
from lightning_distill.functional.gradients import loss_gradient
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.networks import create_network
from lightning_distill.utils.hardware import machine_description, resolve_device

PAIRS = 5


def by_loop(network: FunctionalNetwork, parameters: Parameters, x: Tensor) -> list[Tensor]:
    """Compute gradients ``(K, ...)`` of all weights for images ``(K, B, C, H, W)``, class by class, in chunks."""
    gradients = [
        loss_gradient(network, parameters, images, torch.full((len(images),), label, device=x.device))
        for label, images in enumerate(x)
    ]
    return [torch.stack(parts) for parts in zip(*gradients, strict=True)]


def by_vmap(network: FunctionalNetwork, parameters: Parameters, x: Tensor) -> list[Tensor]:
    """Compute gradients ``(K, ...)`` of all weights for images ``(K, B, C, H, W)``, all classes at once."""

    def loss(weights: Parameters, images: Tensor, label: Tensor) -> Tensor:
        return F.cross_entropy(network.eager(weights, images), label.expand(len(images)))

    weights = {name: tensor.detach() for name, tensor in parameters.items()}
    gradients = vmap(grad(loss), in_dims=(None, 0, 0))(weights, x, torch.arange(len(x), device=x.device))
    return [gradients[name] for name in network.weight_names]


def compare(classes: int, images: int, name: str, side: int, pairs: int) -> tuple[InterleavedTimer, float]:
    """Time both ways alternately; the columns "ours" hold the loop."""
    device = torch.device(resolve_device("auto"))
    build = partial(create_network, name, 3, classes, (side, side))
    network = FunctionalNetwork(build, compile="off", chunk=auto_chunk_size(build, (3, side, side), device))
    parameters = network.init_params(device)
    x = torch.randn(classes, images, 3, side, side, device=device)
    loop, together = (partial(function, network, parameters, x) for function in (by_loop, by_vmap))
    one, other = (torch.cat([part.flatten() for part in run()]) for run in (loop, together))
    difference = float((one - other).abs().max() / one.abs().max())
    turns = InterleavedTimer(together, warmup=1, pairs=pairs, device=device)
    turns.start()
    while loop() and not turns():
        pass
    return turns, difference


def main(arguments: list[str] | None = None) -> None:
    given = options(__doc__).parse_args(arguments)
    classes, name, side, pairs = (3, "convnet_w16", 8, 1) if given.quick else (10, "convnet", 32, PAIRS)
    made = provenance("python benchmarks/class_gradients.py" + " --quick" * given.quick)
    columns = [name.replace("ours", "loop").replace("textbook", "vmap") for name in TIME_COLUMNS[:6]]
    columns += ["loop_is_faster", "difference"]
    book = ResumableCsv(folder(given) / "class_gradients.csv", ("images", "machine"), columns, overwrite=given.again)
    for images in (2, 4) if given.quick else (10, 64):
        if book.is_missing(images, machine_description()):
            turns, difference = compare(classes, images, name, side, pairs)
            times = {k.replace("ours", "loop").replace("textbook", "vmap"): v for k, v in turns.row().items()}
            row = {"images": images, **times, "loop_is_faster": times["ratio"], "difference": f"{difference:.1e}"}
            print(row, flush=True)
            book.put({**row, **made})


if __name__ == "__main__":
    main()
