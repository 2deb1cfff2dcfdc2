"""Scores: panoptic quality and mean intersection over union."""
