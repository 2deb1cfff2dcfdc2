"""From the downloads of public datasets, and from other formats, to COCO's panoptic format."""
