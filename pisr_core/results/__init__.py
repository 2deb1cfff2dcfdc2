"""How results leave: one table, one plotter, one page, for every command that reports."""
