"""`pisr train`."""
