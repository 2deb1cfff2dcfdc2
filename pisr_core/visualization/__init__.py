"""Pictures of panoptic maps."""
