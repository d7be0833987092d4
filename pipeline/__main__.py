"""`python -m pipeline` is `edgepress`."""

from pipeline.cli import main

main()
