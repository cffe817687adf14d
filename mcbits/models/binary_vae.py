"""BinaryVAE is the paper's VAE for binary images: x -> 200 -> 200 -> z with tanh, and the mirror image to logits."""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn

from mcbits.errors import ModelError
from mcbits.models.vae import VAE
from mcbits.observations.bernoulli import BernoulliObservation

# {layer of a published checkpoint (Ruan et al. 2021): layer here}.
_PUBLISHED_KEYS = {
    "enc_fc1": "encoder.trunk.0",
    "enc_fc2": "encoder.trunk.2",
    "enc_fc31": "encoder.mean",
    "enc_fc32": "encoder.log_scale",
    "dec_fc1": "decoder.0",
    "dec_fc2": "decoder.2",
    "dec_fc3": "decoder.4",
}


class GaussianEncoder(nn.Module):
    """An encoder network: x (B, num_dims) -> mean and log scale of q(z|x), each (B, latent_dim)."""

    def __init__(self, num_dims: int, hidden: int, latent_dim: int) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Linear(num_dims, hidden),
            nn.Tanh(),
            nn.Linear(hidden, hidden),
            nn.Tanh(),
        )
        self.mean = nn.Linear(hidden, latent_dim)
        self.log_scale = nn.Linear(hidden, latent_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.trunk(x)
        return self.mean(h), self.log_scale(h)


class BinaryVAE(VAE):
    """A VAE with one stochastic layer (Burda et al. 2016), as in Ruan et al. 2021. Its decoder returns logits."""

    name = "BinaryVAE"

    def __init__(self, shape: tuple[int, ...] = (28, 28), latent_dim: int = 50, hidden: int = 200) -> None:
        num_dims = math.prod(shape)
        super().__init__(
            GaussianEncoder(num_dims, hidden, latent_dim),
            nn.Sequential(
                nn.Linear(latent_dim, hidden),
                nn.Tanh(),
                nn.Linear(hidden, hidden),
                nn.Tanh(),
                nn.Linear(hidden, num_dims),
            ),
            shape=shape,
            latent_dim=latent_dim,
            observation=BernoulliObservation(),
        )
        self.hidden = hidden

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "hidden": self.hidden}

    @torch.no_grad()
    def initialise_from_data(self, images: Tensor, levels: int) -> None:
        """Set the output bias to the logit of the mean image, clamped to [0.001, 0.999] (Burda et al. 2016)."""
        mean = images.sum(0, dtype=torch.float64) / (len(images) * levels)
        assert isinstance(self.decoder, nn.Sequential)
        output = self.decoder[-1]
        assert isinstance(output, nn.Linear)
        output.bias.copy_(torch.logit(mean.float(), eps=0.001))

    @classmethod
    def from_published(cls, state_dict: dict[str, Tensor]) -> Self:
        """Return the model of a published checkpoint for 28 x 28 pixels. The tensors give the other sizes.

        Raises ModelError if the tensors are of another architecture.
        """
        renamed = {}
        for key, tensor in state_dict.items():
            layer, _, kind = key.rpartition(".")
            renamed[f"{_PUBLISHED_KEYS.get(layer, layer)}.{kind}"] = tensor
        try:
            latent_dim, hidden = renamed["encoder.mean.weight"].shape
            model = cls(latent_dim=latent_dim, hidden=hidden)
            model.load_state_dict(renamed)
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(
                f"not a published {cls.name} checkpoint: expected the tensors {', '.join(_PUBLISHED_KEYS)} "
                "(.weight and .bias) of a network for 28 x 28 images"
            ) from error
        return model
