"""What was encoded once decodes for ever, anywhere: golden files hold the line, byte for byte in both directions."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import corpus
import pytest

from mcbits.exact.layers import AnyLayer

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = json.loads(corpus.CORPUS.read_text())


@pytest.mark.parametrize("threads", ["1", "2"])
def test_golden_files_are_the_same_under_every_backend_batch_and_thread(threads):
    settings = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)
    command = [sys.executable, corpus.__file__, "--backend", "numpy", "torch:cpu", "--batch", "1", "7", "50", "500"]
    env = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, env=env, capture_output=True, text=True)
    assert result.stdout == "all vectors and files agree\n", result.stdout + result.stderr


def test_one_wrong_logit_is_noticed_in_every_file_that_needs_it(monkeypatch):
    vaes = corpus.models()
    for vae in vaes.values():

        def off_by_one(*inputs, run=vae.decoder.run):
            (logits,) = run(*inputs)
            logits[:, 20] += 1
            return (logits,)

        monkeypatch.setattr(vae.decoder, "run", off_by_one)
    noticed = {line.split()[0] for line in corpus.file_differences(GOLDEN, vaes)}
    assert noticed == set(GOLDEN["files"])


def test_a_changed_vector_is_noticed(monkeypatch):
    changed = {**GOLDEN["vectors"], "coupling": "0" * 64}
    assert list(corpus.differences({"files": {}, "vectors": changed})) == ["vector 'coupling' differs"]


def test_every_kind_of_layer_is_in_the_corpus():
    vae = corpus.models()["dense"]
    networks = [vae.encoder, vae.decoder, *corpus.networks().values()]
    kinds = {type(layer) for network in networks for layer in network.layers}
    assert kinds == set(get_args(get_args(AnyLayer)[0]))


def test_both_significands_are_in_the_corpus():
    kinds = {value.dtype for network in corpus.networks().values() for value in network.values}
    assert kinds == {"float32", "float64"}
