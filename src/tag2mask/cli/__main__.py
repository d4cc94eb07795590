"""``python -m tag2mask.cli``."""

from tag2mask.cli import main

main()
