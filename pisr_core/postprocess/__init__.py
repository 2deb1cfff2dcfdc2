"""From a model's predictions to panoptic maps."""
