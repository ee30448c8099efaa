"""MedMNIST npz files: 2D images, 3D volumes and slices."""
