"""Weights on the disk: our checkpoints and public weights."""
