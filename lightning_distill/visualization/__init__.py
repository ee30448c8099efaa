"""Image grids and matplotlib figures."""
