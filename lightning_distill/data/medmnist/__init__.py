"""MedMNIST: 2D sets, and 3D sets as slices of their volumes."""
