"""What was encoded once decodes for ever, anywhere: golden files hold the line, byte for byte in both directions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import corpus
import numpy as np
import pytest

from mcbits.exact.layers import AnyLayer
from mcbits.exact.model_io import ModelFile
from mcbits.latents.pixels import channels_of, neighbours_of

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = json.loads(corpus.CORPUS.read_text())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_golden_files_are_the_same_under_every_backend_batch_and_thread(threads):
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    command = [sys.executable, corpus.__file__, "--backend", "numpy", "torch:cpu", "--batch", "1", "7", "50", "500"]
    env = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.stdout == "all vectors and files agree\n", result.stdout + result.stderr


def one_off(network, output):
    """Add its least unit to one of the outputs of a network that ends in a linear layer."""
    index, last = len(network.layers) - 1, network.layers[-1]
    shift = network.values[-1].frac - network.outputs[0].frac + (last.shifts[output] if last.shifts else 0)
    bias = network.tensors[f"{index}.bias"].astype(np.int64)
    bias[output] += 1 << shift
    network.tensors[f"{index}.bias"], network._dense = bias, None


def test_one_wrong_parameter_is_noticed_in_every_file_that_needs_it(monkeypatch):
    models = corpus.models()
    for model in models.values():
        if "head0" in model.networks:
            one_off(model.networks["head0"], getattr(model.observation, "M", 0))  # a mean, or a logit
            model.neighbours = neighbours_of(model, ModelFile(model.data).meta, getattr(model, "num_features", 0))
            continue

        def off_by_one(*inputs, run=model.decoder.run):
            (logits,) = run(*inputs)
            logits[:, 20] += 1
            return (logits,)

        monkeypatch.setattr(model.decoder, "run", off_by_one)
    noticed = {line.split()[0] for line in corpus.file_differences(GOLDEN, models)}
    assert noticed == set(GOLDEN["files"])


def test_a_changed_vector_is_noticed(monkeypatch):
    changed = {**GOLDEN["vectors"], "coupling": "0" * 64}
    assert list(corpus.differences({"files": {}, "vectors": changed})) == ["vector 'coupling' differs"]


def test_every_kind_of_layer_is_in_the_corpus():
    vae = corpus.models()["dense"]
    networks = [vae.encoder, vae.decoder, *corpus.networks().values()]
    kinds = {type(layer) for network in networks for layer in network.layers}
    assert kinds == set(get_args(get_args(AnyLayer)[0]))


def test_every_kind_of_pixel_is_in_the_corpus():
    models = [model for model in corpus.models().values() if "head0" in model.networks]
    assert {model.name for model in models} == {"pixels", "pixel VAE"}
    assert {model.observation.name for model in models} == {"logistic", "bernoulli", "categorical"}
    assert {channels_of(model.shape) for model in models} == {1, 2, 3, 4}
    assert any(layer.shifts for model in models for layer in model.networks["head0"].layers if hasattr(layer, "shifts"))
    jobs = [job for job in GOLDEN["files"].values() if "symbols" in job]
    assert {job["dtype"] for job in jobs} == {"bool", "uint8", "uint16"}
    assert {job["arguments"]["coder"] for job in jobs} == {"simple", "bb-elbo", "bb-is", "bb-cis"}


def test_both_significands_are_in_the_corpus():
    kinds = {value.dtype for network in corpus.networks().values() for value in network.values}
    assert kinds == {"float32", "float64"}
