"""A collection is read alike from .mat and .pickle, and nothing in a file runs."""

import os
import pickle

import numpy as np
import pytest
from mcbits_smc.pianorolls import PianoRolls
from scipy.io import savemat

from mcbits.errors import DataError, UsageError
from mcbits.latents.sequences import lengths


def write_mat(path, parts):
    arrays = {key: np.empty((1, len(rolls)), object) for key, rolls in parts.items()}
    for key, rolls in parts.items():
        for i, roll in enumerate(rolls):
            arrays[key][0, i] = roll
    savemat(path, arrays)


@pytest.fixture
def rolls():
    rng = np.random.default_rng(0)
    return [(rng.random((T, 88)) < 0.05).astype(np.uint8) for T in (3, 120, 1)]


def test_sequences_are_padded_and_cut_at_100_frames(tmp_path, rolls):
    write_mat(tmp_path / "JSB_Chorales.mat", {"traindata": rolls, "validdata": rolls[:1], "testdata": rolls[1:]})
    data = PianoRolls.load(tmp_path, "jsb")
    assert data.train.shape == (3, 100, 88) and lengths(data.train).tolist() == [3, 100, 1]
    assert np.array_equal(data.test[0], rolls[1][:100]) and np.array_equal(data.valid[0, :3], rolls[0])


def test_pickles_of_chords_give_the_same_frames(tmp_path, rolls):
    chords = [[tuple((np.flatnonzero(frame) + 21).tolist()) for frame in roll] for roll in rolls]
    (tmp_path / "pianorolls").mkdir()
    path = tmp_path / "pianorolls" / "MuseData.pickle"
    path.write_bytes(pickle.dumps({"train": chords, "valid": chords[:1], "test": chords[1:]}, protocol=2))
    write_mat(tmp_path / "JSB_Chorales.mat", {"traindata": rolls, "validdata": rolls[:1], "testdata": rolls[1:]})
    found, expected = PianoRolls.load(tmp_path, "muse"), PianoRolls.load(tmp_path, "jsb")
    assert np.array_equal(found.train, expected.train) and np.array_equal(found.test, expected.test)


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"train": [Malicious()], "valid": [], "test": []}),
        pickle.dumps({"train": [[(20,)]], "valid": [], "test": []}),
        pickle.dumps([1, 2]),
        b"\x80",
    ],
)
def test_a_strange_pickle_is_an_error_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Piano_midi.pickle").write_bytes(content)
    with pytest.raises(DataError, match="Piano_midi.pickle is damaged or no piano-roll file"):
        PianoRolls.load(tmp_path, "piano")
    assert not (tmp_path / "pwned").exists()


def test_what_is_missing_or_unknown_is_said_in_one_line(tmp_path, rolls):
    with pytest.raises(DataError, match="holds no Nottingham.mat or Nottingham.pickle"):
        PianoRolls.load(tmp_path, "nottingham")
    with pytest.raises(UsageError, match="choose jsb, nottingham, muse, piano"):
        PianoRolls.load(tmp_path, "bach")
    (tmp_path / "Nottingham.mat").write_bytes(b"no mat file")
    with pytest.raises(DataError, match="damaged"):
        PianoRolls.load(tmp_path, "nottingham")
    write_mat(tmp_path / "JSB_Chorales.mat", {"traindata": [rolls[0] * 2], "validdata": rolls, "testdata": rolls})
    with pytest.raises(DataError, match="zeros and ones"):
        PianoRolls.load(tmp_path, "jsb")
