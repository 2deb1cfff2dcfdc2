"""The JSON and the PNGs with all mended that can be."""
