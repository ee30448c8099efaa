"""Networks by name."""

from lightning_distill.networks.convnet import ConvNet
from lightning_distill.networks.factory import check_network, create_network, list_networks
from lightning_distill.networks.resolve import resolve_networks

__all__ = ["ConvNet", "check_network", "create_network", "list_networks", "resolve_networks"]
