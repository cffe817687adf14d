"""A frozen VAE is a file of integers, its SHA-256 its name: prior, posterior and likelihood come from it bit for bit
anywhere."""

import json
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, fields
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from mcbits.distributions import Distribution, GaussianBuckets, uniform
from mcbits.distributions.base import MAX_PRECISION
from mcbits.distributions.gaussian import CENTRE_FRAC, LOG_SCALE_FRAC, MEAN_FRAC, equal_mass_centres
from mcbits.errors import ModelError, UsageError
from mcbits.exact.fixed import FixedPoint, Shape
from mcbits.exact.iterative import Refinement, Refiner
from mcbits.exact.model_io import dumps, load
from mcbits.plugins import registry

if TYPE_CHECKING:
    from mcbits.models.vae import VAE

_SHAPE: TypeAdapter[tuple[int, ...]] = TypeAdapter(Shape)


@dataclass(frozen=True)
class Precisions:
    """Bits of precision: of the stack (lprec, bprec), latent grid, p(z), q(z|x), p(x|z), the choice of a particle."""

    lprec: int = 32
    bprec: int = 32
    log_num_bucket: int = 8
    prior_mprec: int = 8
    prop_mprec: int = 16
    cond_mprec: int = 16
    index_mprec: int = 24

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise UsageError(f"{f.name} must be a whole number of bits, not {value!r}")
            object.__setattr__(self, f.name, int(value))
        if not (1 <= self.lprec and 1 <= self.bprec and self.lprec + self.bprec <= 64):
            raise UsageError(f"lprec {self.lprec} and bprec {self.bprec} must be at least 1 and together at most 64")
        for name in ("prior_mprec", "prop_mprec", "cond_mprec", "index_mprec"):
            if not 1 <= getattr(self, name) <= min(self.lprec, MAX_PRECISION):
                raise UsageError(
                    f"{name} must be between 1 and the smaller of lprec and {MAX_PRECISION}, "
                    f"not {getattr(self, name)}"
                )
        if not 1 <= self.log_num_bucket <= min(self.prior_mprec, self.prop_mprec, 16):
            raise UsageError(
                "log_num_bucket must be between 1 and the smallest of prior_mprec, prop_mprec and 16, "
                f"not {self.log_num_bucket}"
            )


class FrozenVAE:
    """A VAE as integers: standard normal prior, Gaussian posterior, any registered observation model.

    `shape` of an image, `num_symbols` K of a pixel, `latent_dim`, `data` (the file), `model_id` (its SHA-256, hex).
    """

    def __init__(self, source: Path | bytes, backend: str = "numpy"):
        """Read a frozen model file, or its bytes. ModelError if it is not one, PlatformError if this machine rounds."""
        self.data = source if isinstance(source, bytes) else _read(source)
        networks, meta, self.model_id = load(self.data, backend)
        self.backend = backend
        try:
            self.encoder, self.decoder = networks["encoder"], networks["decoder"]
            self.shape: tuple[int, ...] = _SHAPE.validate_json(json.dumps(meta["shape"]), strict=True)
            self.observation: Any = registry().observation(meta["observation"])()
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise ModelError("the frozen model does not describe a VAE: freeze it again") from None
        dims, self.num_symbols = prod(self.shape), self.observation.num_symbols
        self.latent_dim = self.decoder.inputs[0].size
        fits = (
            len(self.encoder.inputs) == len(self.decoder.inputs) == 1
            and self.encoder.inputs[0].size == dims
            and [(prod(o.shape), o.frac) for o in self.encoder.outputs]
            == [(self.latent_dim, MEAN_FRAC), (self.latent_dim, LOG_SCALE_FRAC)]
            and [(prod(o.shape), o.frac) for o in self.decoder.outputs]
            == [(self.observation.num_parameters(dims), self.observation.frac_bits)]
        )
        if not fits:
            raise ModelError("the networks of the frozen model do not fit each other: freeze it again")

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        from mcbits.datasets.images import whole_or_nothing

        with whole_or_nothing(path) as draft:
            draft.write_bytes(self.data)

    def latent_model(self, precisions: Precisions, refinement: Refinement | None = None) -> "LatentVAE":
        """The discretised distributions at these precisions, which is what a coder sees.

        A refinement improves on the encoder network's q(z|x); UsageError for a model that has no exact gradient.
        """
        return LatentVAE(self, precisions, refinement)


class LatentVAE:
    """The LatentModel of a FrozenVAE at given precisions."""

    def __init__(self, vae: FrozenVAE, precisions: Precisions, refinement: Refinement | None = None):
        self.vae, self.precisions = vae, precisions
        self._refiner = Refiner(vae, refinement) if refinement else None
        self.index_precision = precisions.index_mprec
        self._centres = equal_mass_centres(1 << precisions.log_num_bucket)

    def prior(self, lanes: int) -> Distribution:
        """Uniform over buckets of equal prior mass, (lanes, latent_dim)."""
        return uniform(1 << self.precisions.log_num_bucket, (lanes, self.vae.latent_dim), self.precisions.prior_mprec)

    def posterior(self, x: NDArray[np.integer]) -> GaussianBuckets:
        """q(z|x) for x (lanes, dims)."""
        return self._gaussian(*self._posterior_parameters(x))

    def ahead(self, x: NDArray[np.integer], lanes: int) -> Iterator["LatentVAE"]:
        """For each step of `lanes` images of x (n, dims) this model, its q(z|x) taken from one run over all of them."""
        q = self.posterior(x)
        for first in range(0, len(x), lanes):
            step = copy(self)
            step.posterior = partial(_rows_like, q, first)  # type: ignore[method-assign]
            yield step

    def likelihood(self, z: NDArray[np.integer]) -> Distribution:
        """p(x|z) for z (lanes, latent_dim) or (lanes, particles, latent_dim), all rows in one run of the network."""
        rows = self._centres.take(z.reshape(-1, *self.vae.decoder.inputs[0].shape))
        (parameters,) = self.vae.decoder.run(rows)
        parameters = parameters.reshape(*z.shape[:-1], -1)
        p_x: Distribution = self.vae.observation.distribution(parameters, self.precisions.cond_mprec)
        return p_x

    def _posterior_parameters(self, x: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        images = x.reshape(len(x), *self.vae.encoder.inputs[0].shape)
        mean, log_scale = (each.reshape(len(x), -1) for each in self.vae.encoder.run(images))
        return self._refiner(x, mean, log_scale) if self._refiner else (mean, log_scale)

    def _gaussian(self, mean: NDArray[np.int32], log_scale: NDArray[np.int32]) -> GaussianBuckets:
        return GaussianBuckets(mean, log_scale, self.precisions.log_num_bucket, self.precisions.prop_mprec, leaky=False)


def freeze_vae(vae: "VAE", backend: str = "numpy") -> FrozenVAE:
    """Freeze a trained torch VAE; FreezeError where a layer has no exact form. Needs torch."""
    from mcbits.exact.freeze import freeze

    dims = prod(vae.shape)
    x = FixedPoint(shape=(dims,), frac=0, bound=vae.observation.num_symbols - 1)
    z = FixedPoint(shape=(vae.latent_dim,), frac=CENTRE_FRAC, bound=1024)
    encoder = freeze(vae.encoder, [x], [MEAN_FRAC, LOG_SCALE_FRAC])
    decoder = freeze(vae.decoder, [z], [vae.observation.frac_bits])
    meta = {"observation": vae.observation.name, "shape": list(vae.shape)}
    return FrozenVAE(dumps({"encoder": encoder, "decoder": decoder}, meta), backend)


def _rows_like(q: GaussianBuckets, first: int, x: NDArray[np.integer]) -> GaussianBuckets:
    return q.rows(first, first + len(x))


def _read(path: Path) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None
