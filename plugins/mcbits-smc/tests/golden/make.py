"""Writes the golden files: what every later version must restore, and write again byte for byte."""

from pathlib import Path

import numpy as np
import torch
from mcbits_smc.vrnn import VRNN

import mcbits
from mcbits.latents.sequences import pad

HERE = Path(__file__).parent
CODERS = {
    "bb-elbo": {},
    "bb-is": {"num_particles": 3, "ramp": "off"},
    "bb-smc": {"num_particles": 3},
    "bb-smc-always": {"num_particles": 3, "resampling": "always", "ramp": "off"},
    "bb-csmc": {"num_particles": 3, "prop_mprec": 10},
}

if __name__ == "__main__":
    torch.manual_seed(0)
    model = VRNN((9, 6), latent_dim=3, hidden=8).eval().freeze()
    model.save(HERE / "codec.safetensors")
    rng = np.random.default_rng(0)
    sequences = pad([rng.integers(0, 2, (T, 6), np.uint8) for T in (9, 1, 4, 12, 7, 2)], 9)
    np.save(HERE / "sequences.npy", sequences)
    for name, options in CODERS.items():
        blob = mcbits.compress(sequences, model, name.removesuffix("-always"), seed=0, **options)
        (HERE / f"{name}.mcb").write_bytes(blob)
