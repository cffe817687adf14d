"""Training reads of each pixel what coding reads: the same neighbours, with the same values beyond the edges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mcbits.errors import DataError
from mcbits.observations.neighbours import channel_order

Pictures = NDArray[np.generic] | Sequence[NDArray[np.generic]] | Tensor
"""Pictures of one shape (n, h, w) or (n, h, w, C), or a sequence of pictures (h, w) or (h, w, C) of several sizes."""


class Context(NamedTuple):
    """What is known of B pixels: neighbours (B, k, C) in the order of the runtime, samples (B, C), position (B, 2).

    All are float32 that hold integers. Channels are in the order of coding.
    """

    neighbours: Tensor
    samples: Tensor
    position: Tensor


class Contexts:
    """All pixels of some pictures, numbered from 0 picture by picture and row by row, in one padded buffer.

    radius: R of the context. beyond: the value of what is above the pictures.
    num_images, num_pixels, channels: what there is.
    """

    def __init__(self, pictures: Pictures, radius: int, *, beyond: int = 0, device: torch.device | str = "cpu") -> None:
        groups = list(_groups(pictures))
        self.radius, self.channels = radius, groups[0].shape[3]
        if any(x.shape[3] != self.channels for x in groups):
            found = sorted({x.shape[3] for x in groups})
            raise DataError(f"expected pictures of one number of channels, got {found}: train one model for each")
        padded = [_padded(x, radius, beyond) for x in groups]
        self._buffer = torch.cat([x.reshape(-1) for x in padded]).to(device)
        sizes = [x.shape[1:3] for x in groups for _ in range(len(x))]
        areas = [prod(x.shape[1:]) for x in padded for _ in range(len(x))]
        heights, widths = torch.tensor(sizes, dtype=torch.int64, device=device).T
        self._heights, self._widths = heights, widths
        ends = torch.cumsum(heights * widths, 0)
        self._first = ends - heights * widths
        places = np.cumsum([0, *areas[:-1]])
        self._places = torch.as_tensor(places, device=device)
        self.num_images, self.num_pixels = len(sizes), int(ends[-1])
        # A run of a context's row is contiguous, so a row of this view is one.
        run = (2 * radius + 1) * self.channels
        self._runs = self._buffer.as_strided((len(self._buffer) - run + 1, run), (1, 1))
        self._rows = torch.arange(-radius, 1, device=device)

    def random(self, count: int) -> Tensor:
        """Return the numbers (count,) of pixels drawn at random, by torch's generator of the pictures' device."""
        return torch.randint(0, self.num_pixels, (count,), device=self._buffer.device)

    def spread(self, most: int) -> Tensor:
        """Return the numbers of at most `most` pixels at even distances: all of them if they are no more."""
        if self.num_pixels <= most:
            return torch.arange(self.num_pixels, device=self._buffer.device)
        return torch.arange(most, device=self._buffer.device) * self.num_pixels // most

    def take(self, pixels: Tensor) -> Context:
        """Return what is known of the pixels of these numbers, int64 (B,)."""
        picture = torch.searchsorted(self._first, pixels, right=True) - 1
        height, width, at = self._heights[picture], self._widths[picture], pixels - self._first[picture]
        y = at // width
        x = at - y * width
        R, C = self.radius, self.channels
        pitch = (width + 2 * R) * C
        # The run begins R pixels to the left of the pixel, which is R pixels from the left in a padded row.
        start = self._places[picture] + (y + R) * pitch + x * C
        runs = self._runs[start[:, None] + self._rows * pitch[:, None]].flatten(1).float()
        before = 2 * R * (R + 1) * C
        position = torch.stack([(2 * y + 1) * 32 // height - 32, (2 * x + 1) * 32 // width - 32], 1).float()
        return Context(runs[:, :before].unflatten(1, (-1, C)), runs[:, before : before + C], position)


def _groups(pictures: Pictures) -> Iterator[Tensor]:
    """Yield tensors (n, h, w, C) of a type that holds their samples, channels in the order of coding."""
    for group in [pictures] if isinstance(pictures, np.ndarray | Tensor) else [x[None] for x in pictures]:
        if isinstance(group, Tensor):
            x = group
        else:
            wide = group.dtype.itemsize > 1
            x = torch.from_numpy(np.ascontiguousarray(group, np.int32 if wide else np.int16))
        if x.ndim not in (3, 4) or 0 in x.shape:
            raise DataError(f"expected pictures (h, w) or (h, w, channels), got {tuple(x.shape[1:])}")
        x = x.to(torch.int16 if x.dtype in (torch.uint8, torch.bool, torch.int16) else torch.int32)
        x = x if x.ndim == 4 else x.unsqueeze(3)
        if x.shape[3] > 4:
            raise DataError(f"expected pictures of 1 to 4 channels, got {x.shape[3]}")
        yield x[..., list(channel_order(x.shape[3]))]


def _padded(x: Tensor, radius: int, beyond: int) -> Tensor:
    """Return pictures (n, h, w, C) as (n, h + R, w + 2 R, C): see `neighbours_edge` of mcbits/core/neighbours.h."""
    n, h, w, C = x.shape
    out = x.new_full((n, h + radius, w + 2 * radius, C), beyond)
    out[:, radius:, radius : radius + w] = x
    out[:, radius:, radius + w :] = x[:, :, -1:]
    out[:, radius + 1 :, :radius] = x[:, :-1, :1]
    return out
