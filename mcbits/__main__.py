"""`python -m mcbits` is the command `mcbits`."""

from mcbits.cli import main

main()
