"""What Python offers beside the command line: models that predict, training, evaluation and panoptic quality."""
