"""The `pisr` command line: thin commands over `pisr_core`."""
