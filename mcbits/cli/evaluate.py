"""`mcbits evaluate` estimates the ideal rate of a coder: the negative of its bound, under the float network."""

from mcbits.bounds.base import find_bound
from mcbits.cli.flags import ConfigFile, Flags, with_flags
from mcbits.cli.options import config_options
from mcbits.cli.output import show
from mcbits.cli.progress import progress
from mcbits.config import EvaluateConfig
from mcbits.datasets.selection import test_images
from mcbits.errors import UsageError


@config_options(EvaluateConfig)
@with_flags
def evaluate(
    overrides: dict[str, str],
    config: ConfigFile = None,
    *,
    flags: Flags,
) -> None:
    """Estimate the ideal bitrate of a coder on test images, without coding."""
    checked = EvaluateConfig.load(config, overrides)
    if checked.train_config is None:
        raise UsageError("there is no model: give --train_config RUN/train_config.yml")
    coder = checked.options.coder
    images = test_images(checked)

    from mcbits.training.checkpoint import load_float
    from mcbits.training.evaluation import choose_device, evaluate

    with progress(flags.quiet):
        result = evaluate(
            load_float(checked.train_config),
            images,
            find_bound(coder.bound).of(coder),
            coder.num_particles,
            seed=checked.seed,
            device=choose_device(checked.gpu),
        )
    error = result["standard_error"]
    show(
        {"coder": coder.short, **result},
        f"{coder.short}: ideal {result['ideal']:.4f} bits/{result['unit']}"
        f" ({result['bound']}, {result['num_particles']} particles, {result['num_images']} images"
        f"{'' if error is None else f', standard error {error:.4f}'})",
        flags.json,
    )
