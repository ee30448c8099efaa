"""Folders of image files: index, decode, resize, cache."""
