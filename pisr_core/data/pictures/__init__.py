"""Images of any kind as 8-bit RGB."""
