"""A piano roll is at most 100 frames of 88 notes, 0 or 1 (Boulanger-Lewandowski et al. 2012), from any file format."""

import pickle
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcbits.datasets import Dataset
from mcbits.errors import DataError, UsageError
from mcbits.latents.sequences import pad

NUM_NOTES, LOWEST_NOTE = 88, 21
MAX_FRAMES = 100
"""Longer sequences are cut to this number of frames, as in Ruan et al. 2021."""

_FILES = {"jsb": "JSB_Chorales", "nottingham": "Nottingham", "muse": "MuseData", "piano": "Piano_midi"}


class PianoRolls:
    """A dataset of piano rolls. `split` is the collection: jsb, nottingham, muse or piano; each has three parts."""

    name = "pianorolls"
    splits = tuple(_FILES)

    @staticmethod
    def load(datadir: str | PathLike[str], split: str, download: bool = True) -> Dataset:
        """Read NAME.mat or NAME.pickle from `datadir` or its folder pianorolls; nothing is downloaded.

        Parts are uint8 (n, 100, 88), padded as in `mcbits.latents.sequences`.
        Raises UsageError for an unknown split, DataError if the file is missing or damaged.
        """
        if split not in _FILES:
            raise UsageError(f"pianorolls has no split {split!r}: choose {', '.join(_FILES)}")
        path = _find(Path(datadir), _FILES[split])
        parts = _read_mat(path) if path.suffix == ".mat" else _read_pickle(path)
        train, valid, test = (pad([_checked(roll, path) for roll in part], MAX_FRAMES) for part in parts)
        return Dataset(train=train, test=test, levels=1, valid=valid)


def _find(datadir: Path, name: str) -> Path:
    for folder in (datadir, datadir / "pianorolls"):
        for suffix in (".mat", ".pickle"):
            if (path := folder / (name + suffix)).is_file():
                return path
    raise DataError(f"{datadir} holds no {name}.mat or {name}.pickle: put it there, mcbits does not download it")


def _read_mat(path: Path) -> list[list[Any]]:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        return [list(content[key].ravel()) for key in ("traindata", "validdata", "testdata")]
    except Exception as error:  # scipy does not document which exceptions damaged bytes raise
        raise DataError(f"{path} is damaged or no piano-roll file: {' '.join(str(error).split())}") from error


class _PlainUnpickler(pickle.Unpickler):
    """An unpickler of containers and numbers only, which refuses every class and function, so that none can run."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"expected numbers, got {module}.{name}")


def _read_pickle(path: Path) -> list[list[Any]]:
    try:
        with open(path, "rb") as file:
            content = _PlainUnpickler(file).load()
        return [[_roll(piece) for piece in content[key]] for key in ("train", "valid", "test")]
    except Exception as error:  # damaged bytes may make pickle raise any exception
        raise DataError(f"{path} is damaged or no piano-roll file: {' '.join(str(error).split())}") from error


def _roll(chords: list[tuple[int, ...]]) -> NDArray[np.uint8]:
    """Return a list of chords of MIDI notes as frames, uint8 (T, 88). Raises ValueError for a note outside a piano."""
    roll = np.zeros((len(chords), NUM_NOTES), np.uint8)
    for frame, chord in zip(roll, chords, strict=True):
        notes = np.array(chord, int) - LOWEST_NOTE
        if ((notes < 0) | (notes >= NUM_NOTES)).any():
            raise ValueError(f"a note of {chord} is not on a piano")
        frame[notes] = 1
    return roll


def _checked(roll: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if roll.ndim != 2 or roll.shape[1] != NUM_NOTES or not len(roll) or not np.isin(roll, (0, 1)).all():
        raise DataError(f"{path} holds a sequence {roll.shape} that is not one or more frames of 88 zeros and ones")
    return roll.astype(np.uint8)
