"""`mcbits toy` compares coders with the exact ideal rates of toy models; every message was decoded again."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer
from pydantic import Field

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.options import config_options
from mcbits.cli.output import print_table, show
from mcbits.cli.progress import progress
from mcbits.coders.base import find_coder, make_coder
from mcbits.config import Config
from mcbits.errors import UsageError
from mcbits.plugins.registry import registry

CODERS = "simple,stochastic,bb-elbo,bb-is,bb-cis"


class ToyConfig(Config):
    """Options of `mcbits toy`."""

    model: Literal["mixture", "hmm"] = Field(
        default="mixture", description="discrete mixture, or hidden Markov model of 5 steps"
    )
    coder: str = Field(default=CODERS, description="coders, separated by commas")
    num_particles: str = Field(
        default="1,4,16,64", description="particles N, separated by commas, for the coders that have them"
    )
    num_symbols: int = Field(default=10_000, ge=2, description="symbols x to code")
    proposal: Literal["noisy", "uniform"] = Field(default="noisy", description="q(z|x): a noisy posterior, or uniform")
    lanes: int = Field(default=1, ge=1, description="stacks that step together: faster, each with initial bits")
    seed: int = Field(default=0, ge=0, description="seed of the model, the symbols and the initial bits")


@with_flags
@config_options(ToyConfig)
def toy(
    overrides: dict[str, str],
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE of another option, for the coders that have it; may be repeated."),
    ] = None,
    *,
    flags: Flags,
) -> None:
    """Measure coders on a toy model: net rate against its exact ideal and the entropy, and the initial bits."""
    from mcbits.studies.toy import Truth, hmm, measure, mixture

    config = ToyConfig.load(None, overrides)
    coders = _coders(config.coder, config.num_particles, option or [])
    toy_model = (mixture if config.model == "mixture" else hmm)(config.seed, proposal=config.proposal)
    truth = Truth(toy_model, toy_model.sample(config.num_symbols, config.seed + 1))
    hook, rows = registry().hook, []
    with progress(flags.quiet):
        hook.mcbits_started(job="toy", total=len(coders))
        for each in coders:
            rows.append(asdict(measure(each, truth, config.lanes, config.seed + 2)))
            hook.mcbits_advanced(job="toy", done=len(rows), metrics={"net": rows[-1]["net"]})
        hook.mcbits_finished(job="toy", metrics={})
    document = {
        "model": config.model,
        "proposal": config.proposal,
        "num_symbols": config.num_symbols,
        "lanes": config.lanes,
        "seed": config.seed,
        "entropy": truth.entropy,
        "results": rows,
    }
    if flags.json:
        show(document, "", flags.json)
    else:
        _print_table(document)


def _coders(names: str, num_particles: str, options: list[str]) -> list[Any]:
    from pydantic import TypeAdapter, ValidationError

    from mcbits.config import coder_options

    try:
        particles = [int(n) for n in num_particles.split(",")]
    except ValueError:
        raise UsageError(f"num_particles: {num_particles!r} is no list of integers such as 1,4,16") from None
    classes = [find_coder(name.strip()) for name in names.split(",")]
    given = dict(each.partition("=")[::2] for each in options)
    found = []
    for cls in classes:
        known = coder_options(cls)
        try:
            own = {key: TypeAdapter(known[key].type).validate_python(given[key]) for key in given if key in known}
        except ValidationError as error:
            raise UsageError(f"option: {error.errors()[0]['input']!r} is not a value of that option") from None
        counts = [{"num_particles": n} for n in particles] if "num_particles" in known else [{}]
        found += [make_coder(cls.short, own | count) for count in counts]
    if strange := [key for key in given if not any(key in coder_options(cls) for cls in classes)]:
        raise UsageError(f"none of {names} has an option {strange[0]}: leave it out")
    return found


def _print_table(document: dict[str, Any]) -> None:
    from rich.table import Table

    entropy = document["entropy"]
    table = Table(
        title=f"{document['num_symbols']:,} symbols of the {document['model']}, {document['proposal']} proposal: "
        "bits/dim",
        caption="Net is what the message grew by, ± its standard error given the symbols; ideal is its exact "
        "expectation on clean bits (~ where drawn, not enumerated). Initial bits are "
        "bits a lane. Every message was decoded again and equals the original.",
        caption_justify="left",
    )
    table.add_column("")
    for heading in ("N", "net", "±", "ideal", "net - ideal", "net - entropy", "initial bits"):
        table.add_column(heading, justify="right")
    table.add_row("entropy", "", f"{entropy:.4f}", "", f"{entropy:.4f}", "", "", "")
    for i, row in enumerate(rows := document["results"]):
        if i == 0 or row["coder"] != rows[i - 1]["coder"]:
            table.add_section()
        table.add_row(
            row["coder"],
            str(row["num_particles"]),
            f"{row['net']:.4f}",
            f"{row['standard_error']:.4f}",
            f"{'~' if row['ideal_error'] else ''}{row['ideal']:.4f}",
            f"{row['net'] - row['ideal']:+.4f} ({row['net'] / row['ideal'] - 1:+.2%})",
            f"{row['net'] - entropy:+.4f}",
            f"{row['initial_bits']:,.0f}",
        )
    print_table(table)
