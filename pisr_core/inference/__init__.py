"""A trained model on images and films."""
