"""`mcbits toy` compares coders with the exact ideal rates of toy models; every message was decoded again."""

from dataclasses import asdict
from typing import Annotated, Any, Literal

import typer

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import print_table, show
from mcbits.cli.progress import progress
from mcbits.errors import UsageError
from mcbits.plugins.registry import make_coder, registry

CODERS = "simple,stochastic,bb-elbo,bb-is,bb-cis"


@with_flags
def toy(
    model: Annotated[
        Literal["mixture", "hmm"], typer.Option("--model", help="Discrete mixture, or hidden Markov model of 5 steps.")
    ] = "mixture",
    coder: Annotated[str, typer.Option("--coder", help="Coders, separated by commas.")] = CODERS,
    num_particles: Annotated[
        str, typer.Option("--num_particles", help="Particles N, separated by commas, for the coders that have them.")
    ] = "1,4,16,64",
    option: Annotated[
        list[str] | None,
        typer.Option("--option", help="KEY=VALUE of another option, for the coders that have it; may be repeated."),
    ] = None,
    num_symbols: Annotated[int, typer.Option("--num_symbols", min=2, help="Symbols x to code.")] = 10_000,
    proposal: Annotated[
        Literal["noisy", "uniform"], typer.Option("--proposal", help="q(z|x): a noisy posterior, or uniform.")
    ] = "noisy",
    lanes: Annotated[
        int, typer.Option("--lanes", min=1, help="Stacks that step together: faster, each with initial bits.")
    ] = 1,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Seed of the model, the symbols and the initial bits.")
    ] = 0,
    *,
    flags: Flags,
) -> None:
    """Measure coders on a toy model: net rate against its exact ideal and the entropy, and the initial bits."""
    from mcbits.studies.toy import Truth, hmm, measure, mixture

    coders = _coders(coder, num_particles, option or [])
    toy_model = (mixture if model == "mixture" else hmm)(seed, proposal=proposal)
    truth = Truth(toy_model, toy_model.sample(num_symbols, seed + 1))
    hook, rows = registry().hook, []
    with progress(flags.quiet):
        hook.mcbits_started(job="toy", total=len(coders))
        for each in coders:
            rows.append(asdict(measure(each, truth, lanes, seed + 2)))
            hook.mcbits_advanced(job="toy", done=len(rows), metrics={"net": rows[-1]["net"]})
        hook.mcbits_finished(job="toy", metrics={})
    document = {
        "model": model,
        "proposal": proposal,
        "num_symbols": num_symbols,
        "lanes": lanes,
        "seed": seed,
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
    classes = [registry().coder(name.strip()) for name in names.split(",")]
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
