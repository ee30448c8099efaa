"""Fidelity, diversity and memorisation of sets, measured against real images beside random real images."""
