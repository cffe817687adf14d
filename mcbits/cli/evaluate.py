"""`mcbits evaluate` gives the rate that no coder of this model and bound can beat on average."""

from mcbits.cli.flags import ConfigFile, Debug, Json, Quiet
from mcbits.cli.options import config_options
from mcbits.cli.output import show
from mcbits.cli.progress import progress
from mcbits.config import CompressConfig
from mcbits.datasets.selection import test_images
from mcbits.errors import UsageError
from mcbits.plugins.registry import registry


@config_options(CompressConfig)
def evaluate(
    overrides: dict[str, str],
    config: ConfigFile = None,
    json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Estimate the ideal bitrate of a coder on test images, without coding."""
    checked = CompressConfig.load(config, overrides)
    if checked.train_config is None:
        raise UsageError("there is no model: say --train_config RUN/train_config.yml")
    if checked.iterative_post_improvement:
        raise UsageError("evaluate does not refine q(z|x): leave out iterative_post_improvement, or compress with it")
    coder = checked.make_coder()
    images = test_images(checked)

    from mcbits.training.checkpoint import load_float
    from mcbits.training.evaluation import choose_device, evaluate

    with progress(quiet):
        result = evaluate(
            load_float(checked.train_config),
            images,
            registry().bound(coder.bound).of(coder),
            getattr(coder, "num_particles", 1),
            seed=checked.seed,
            device=choose_device(checked.gpu),
        )
    error, unit = result["standard_error"], "frame" if "bits_per_frame" in result else "dim"
    show(
        {"coder": coder.name, **result},
        f"{coder.name}: ideal {result[f'bits_per_{unit}']:.4f} bits/{unit}"
        f" ({result['bound']}, {result['num_particles']} particles, {result['num_images']} images"
        f"{'' if error is None else f', standard error {error:.4f}'})",
        json,
    )
