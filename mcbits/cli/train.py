"""`mcbits train` makes a run directory, or continues the run in an existing one."""

from pathlib import Path

from mcbits.cli.flags import ConfigFile, Flags, with_flags
from mcbits.cli.options import config_options, tell_without_effect
from mcbits.cli.output import on_interrupt, show
from mcbits.cli.progress import progress
from mcbits.config import TrainConfig
from mcbits.plugins.registry import registry


def _kept(run: Path) -> str:
    """Return what is left of a training that was interrupted."""
    metrics = run / "metrics.jsonl"
    epochs = len(metrics.read_bytes().splitlines()) if metrics.is_file() else 0
    if not epochs:
        return "interrupted in the first epoch: nothing is kept yet"
    return f"interrupted: {run} keeps epochs 1 to {epochs}, and the same command goes on from there"


@config_options(TrainConfig)
@with_flags
def train(
    overrides: dict[str, str],
    config: ConfigFile = None,
    *,
    flags: Flags,
) -> None:
    """Train a model, or continue a run that was interrupted."""
    checked = TrainConfig.load(config, overrides)
    from mcbits.training.loop import train

    run = checked.logdir / checked.exp_name
    with on_interrupt(lambda: _kept(run)), progress(flags.quiet):
        tell_without_effect(TrainConfig, overrides)
        if "held_out" in overrides and not checked.is_of_own_pictures:
            registry().hook.mcbits_notice(message=f"--held_out has no effect: {checked.dataset} has a fixed test part")
        run = train(checked)
    show({"run": run}, f"trained: {run}", flags.json)
