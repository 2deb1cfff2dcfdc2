"""Folders in the hub's layout: fetched, read, written, shared."""
