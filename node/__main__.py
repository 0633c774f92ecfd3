"""``python -m node`` is the command ``sentinel-node``."""

from node.cli import main

main()
