"""The paper's qualitative figures, drawn for a model and images."""
