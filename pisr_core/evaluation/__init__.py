"""A trained model against annotations."""
