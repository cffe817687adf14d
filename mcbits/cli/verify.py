"""`mcbits verify` checks everything, decodes if it has the model, and writes nothing."""

from mcbits.cli.flags import File, Flags, Model, with_flags
from mcbits.cli.output import show
from mcbits.cli.progress import progress


@with_flags
def verify(file: File, model: Model = None, *, flags: Flags) -> None:
    """Check every checksum of a .mcb file and, given the model, that it decodes to the original images."""
    from mcbits.archive.jobs import verify

    with progress(flags.quiet):
        document = verify(file, model)
    extent = "decodes to the original images" if document["decoded"] else "not decoded, which needs --model"
    show(document, f"{file}: every checksum holds; {extent}", flags.json)
