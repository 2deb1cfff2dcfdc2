"""`pisr weights`."""
