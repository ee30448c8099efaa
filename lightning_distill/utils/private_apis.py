"""Access to the private APIs of PyTorch and Lightning that the package uses.

Each function wraps one private name and states the versions it was checked on. Code elsewhere in the package calls
these functions and uses public APIs only, so that an upgrade has one file to check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn


def recompute_in_backward() -> AbstractContextManager[None]:
    """Context in which compiled functions recompute cheap intermediate results instead of storing them.

    ``torch._functorch.config``, checked on PyTorch 2.11 and 2.14.
    """
    import torch._functorch.config

    return cast("AbstractContextManager[None]", torch._functorch.config.patch(aggressive_recomputation=True))


def compiler_error_type() -> type[Exception]:
    """Return the base class of the errors that ``torch.compile`` raises.

    ``torch._dynamo.exc``, checked on PyTorch 2.11 and 2.14. Importing it takes seconds, hence not at the top.
    """
    import torch._dynamo.exc

    return cast("type[Exception]", torch._dynamo.exc.TorchDynamoException)


def nested_tensors(tree: object) -> list[Tensor]:
    """Return the tensors in nested lists, tuples and dicts, in order.

    ``torch.utils._pytree``, checked on PyTorch 2.11 and 2.14.
    """
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def map_nested_tensors(function: Callable[[Tensor], Tensor], tree: Any) -> Any:
    """Apply a function to every tensor in nested lists, tuples and dicts.

    ``torch.utils._pytree``, checked on PyTorch 2.11 and 2.14.
    """
    from torch.utils._pytree import tree_map_only

    return tree_map_only(Tensor, function, tree)


def triton_available() -> bool:
    """Return True where ``torch.compile`` finds triton for the GPU.

    ``torch.utils._triton``, checked on PyTorch 2.11 and 2.14.
    """
    from torch.utils._triton import has_triton

    return bool(has_triton())


def cpu_has_bf16_kernels() -> bool:
    """Return True where oneDNN has bf16 kernels for this CPU.

    ``torch.ops.mkldnn._is_mkldnn_bf16_supported``, checked on PyTorch 2.11 and 2.14.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_batch_norm(module: nn.Module) -> bool:
    """Return True for batch norm of any dimension, synchronised or not.

    ``torch.nn.modules.batchnorm._BatchNorm``, checked on PyTorch 2.11 and 2.14.
    """
    return isinstance(module, nn.modules.batchnorm._BatchNorm)


def add_to_each(totals: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Add to each tensor, in place, the value of the same index, in one fused kernel.

    ``torch._foreach_add_``, checked on PyTorch 2.11 and 2.14.
    """
    torch._foreach_add_(list(totals), list(values))


def sampler_of_distributed_wrapper(sampler: object) -> object:
    """Return the sampler that Lightning wrapped for several processes, or the sampler itself.

    ``_DatasetSamplerWrapper._sampler``, checked on Lightning 2.6.
    """
    wrapped = getattr(getattr(sampler, "dataset", None), "_sampler", None)
    return sampler if wrapped is None else wrapped
