"""From a preset and data to a checkpoint."""
