"""`python -m pisr_cli` is `pisr`."""

from pisr_cli.app import main

main()
