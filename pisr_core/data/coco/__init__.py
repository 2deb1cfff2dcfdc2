"""COCO's panoptic format: its JSON, its PNGs, and the dataset of both."""
