"""From the backbone's stages to F."""
