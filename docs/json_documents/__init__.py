"""What `--json` prints, as types: what is no class of `pisr` itself."""
