"""Finds what is wrong with a dataset in COCO's panoptic format before the first step of training."""
