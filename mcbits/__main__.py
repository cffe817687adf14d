"""`python -m mcbits` runs the command `mcbits`."""

from mcbits.cli import main

main()
