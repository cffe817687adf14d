"""Writes the golden files beside it, once: whoever changes their bytes has made another coder, under another name."""

from pathlib import Path

import numpy as np
import torch

import mcbits
from mcbits.models.binary_vae import BinaryVAE

HERE = Path(__file__).parent


def main() -> None:
    images = np.random.default_rng(0).integers(0, 2, (40, 3, 4), np.uint8)
    np.save(HERE / "images.npy", images)
    for latent_dim in (1, 5):
        torch.manual_seed(latent_dim)
        model = BinaryVAE(shape=(3, 4), latent_dim=latent_dim, hidden=7).eval().freeze()
        for options in ({"bitswap": True}, {"bitswap": False, "schedule": "sigmoidal", "lanes": 3}):
            blob = mcbits.compress(images, model, coder="bb-ais", num_steps=6, embed_model=True, seed=0, **options)
            (HERE / f"latents{latent_dim}-bitswap-{str(options['bitswap']).lower()}.mcb").write_bytes(blob)


if __name__ == "__main__":
    main()
