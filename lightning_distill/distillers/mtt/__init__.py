"""Matching training trajectories (MTT): distiller, expert files, inner loop."""
