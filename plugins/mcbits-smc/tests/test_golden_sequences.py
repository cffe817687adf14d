"""Files of before decode, and are written again byte for byte."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import mcbits

GOLDEN = Path(__file__).parent / "golden"
_spec = importlib.util.spec_from_file_location("make_golden_sequences", GOLDEN / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)


@pytest.mark.parametrize("name", make.CODERS)
def test_golden_file_decodes_and_is_written_again(name):
    sequences, model = np.load(GOLDEN / "sequences.npy"), mcbits.load_model(GOLDEN / "codec.safetensors")
    blob = (GOLDEN / f"{name}.mcb").read_bytes()
    assert np.array_equal(mcbits.decompress(blob, model), sequences)
    coder = name.removesuffix("-always")
    assert mcbits.compress(sequences, model, coder, verify=False, seed=0, **make.CODERS[name]) == blob
