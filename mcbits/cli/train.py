"""`mcbits train` makes a run directory, or goes on with the one it finds."""

from mcbits.cli.flags import ConfigFile, Debug, Json, Quiet
from mcbits.cli.options import config_options
from mcbits.cli.output import show
from mcbits.cli.progress import progress
from mcbits.config import TrainConfig


@config_options(TrainConfig)
def train(
    overrides: dict[str, str],
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Train a model; a run that was interrupted goes on where it was."""
    checked = TrainConfig.load(config, overrides)
    from mcbits.training.loop import train

    with progress(quiet):
        run = train(checked)
    show({"run": run}, f"trained: {run}", json)
