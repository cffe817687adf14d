"""`mcbits verify` decodes everything and keeps nothing."""

from mcbits.cli.flags import Debug, File, Json, Model, Quiet
from mcbits.cli.output import show
from mcbits.cli.progress import progress


def verify(file: File, model: Model = None, json: Json = False, quiet: Quiet = False, debug: Debug = False) -> None:
    """Check every checksum of a .mcb file and, given the model, that it decodes to the original images."""
    from mcbits import load_model
    from mcbits.archive.jobs import verify

    with progress(quiet):
        document = verify(file, load_model(model) if model else None)
    extent = "decodes to the original images" if document["decoded"] else "not decoded, which needs --model"
    show(document, f"{file}: every checksum holds; {extent}", json)
