"""Generators: networks trained on the real images that draw images of given labels."""

from lightning_distill.generators.base import Generator
from lightning_distill.generators.flow import FlowGenerator
from lightning_distill.generators.gan import GANGenerator
from lightning_distill.generators.load import load_generator

__all__ = ["FlowGenerator", "GANGenerator", "Generator", "load_generator"]
