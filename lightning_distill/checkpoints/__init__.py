"""Checkpoints of Lightning: written atomically, verified when read, without paths of the machine."""
