"""A picture file is its pixels and a wrapper, from which the file is rebuilt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

FILE, PNG, FRAMED, ARRAY = 0, 1, 2, 3


@dataclass(frozen=True)
class Unwrapped:
    """What is read of an entry: its pixels, how the file is rebuilt, and what is kept beside the pixels."""

    pixels: NDArray[Any]
    way: int
    wrapper: bytes
    palette: bool = False
    note: str = ""
