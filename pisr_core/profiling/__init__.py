"""What a model costs: operations by part, seconds, memory, and quality against them (Table 4, Fig. 8)."""
