"""The public models that are known by name, and how their weights become ours."""
