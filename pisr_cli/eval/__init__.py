"""`pisr eval`."""
