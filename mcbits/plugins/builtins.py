"""The built-in plugin registers the classes of mcbits through the same hooks as any plugin, without importing them."""

from pathlib import Path

from mcbits.plugins.hooks import Lazy, hookimpl

READY = Path(__file__).parent.parent / "archive" / "ready"


@hookimpl
def mcbits_coders() -> list[Lazy]:
    return [
        Lazy("mcbits.coders.simple:SimpleCoder", "SimpleCoder", "simple"),
        Lazy("mcbits.coders.stochastic:StochasticCoder", "StochasticCoder", "stochastic"),
        Lazy("mcbits.coders.bits_back:BitsBackCoder", "BitsBackCoder", "bb-elbo"),
        Lazy("mcbits.coders.is_bits_back:ISBitsBackCoder", "ISBitsBackCoder", "bb-is"),
        Lazy("mcbits.coders.cis_bits_back:CISBitsBackCoder", "CISBitsBackCoder", "bb-cis"),
    ]


@hookimpl
def mcbits_bounds() -> list[Lazy]:
    return [
        Lazy("mcbits.bounds.elbo:ELBO", "elbo"),
        Lazy("mcbits.bounds.iwae:IWAE", "iwae"),
        Lazy("mcbits.bounds.coupled_iwae:CoupledIWAE", "ciwae"),
        Lazy("mcbits.bounds.joint:Joint", "joint"),
    ]


@hookimpl
def mcbits_models() -> list[Lazy]:
    return [
        Lazy("mcbits.models.binary_vae:BinaryVAE", "BinaryVAE"),
        Lazy("mcbits.models.conv_vae:ConvVAE", "ConvVAE"),
        Lazy("mcbits.models.pixels:PixelModel", "PixelModel"),
        Lazy("mcbits.models.pixels:PixelVAE", "PixelVAE"),
    ]


@hookimpl
def mcbits_frozen_models() -> list[Lazy]:
    return [
        Lazy("mcbits.latents.vae:FrozenVAE", "VAE"),
        Lazy("mcbits.latents.pixels:FrozenPixels", "pixels"),
        Lazy("mcbits.latents.pixels:FrozenPixelVAE", "pixel VAE"),
    ]


@hookimpl
def mcbits_observation_models() -> list[Lazy]:
    return [
        Lazy("mcbits.observations.bernoulli:BernoulliObservation", "bernoulli"),
        Lazy("mcbits.observations.logistic:LogisticMixture", "logistic"),
        Lazy("mcbits.observations.categorical:CategoricalObservation", "categorical"),
    ]


@hookimpl
def mcbits_datasets() -> list[Lazy]:
    return [
        Lazy("mcbits.datasets.emnist:EMNIST", "EMNIST"),
        Lazy("mcbits.datasets.mnist:MNIST", "MNIST"),
        Lazy("mcbits.datasets.digits:Digits", "digits"),
    ]


@hookimpl
def mcbits_ready_made_models() -> list[Path]:
    return [READY / f"{name}.mcm" for name in ("grey", "rgb", "rgba", "bilevel")]
