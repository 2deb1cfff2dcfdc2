"""PISR in the networks of other libraries."""
