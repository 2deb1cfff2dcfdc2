"""`pisr data`."""
