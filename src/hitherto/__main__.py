"""``python -m hitherto``: the command line."""

from hitherto.cli import main

main()
