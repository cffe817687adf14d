"""A file becomes images block by block. Damaged, missing or too large data is an error and never gives other images."""

from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import sha256
from math import prod
from typing import Any, BinaryIO

from numpy.typing import NDArray

from mcbits.archive.blocks import BlockCodec
from mcbits.archive.format import End, Header, claimed_by_block, read_ahead, read_blocks, read_header, sample_bytes
from mcbits.archive.models import Model, model_of_id
from mcbits.archive.options import CodingOptions
from mcbits.archive.workers import Workers
from mcbits.errors import DataError, FormatError, ModelError, SizeError, UsageError
from mcbits.latents.frozen import FrozenModel, load_frozen
from mcbits.plugins.registry import registry


def decode(
    file: BinaryIO,
    given: Model | None = None,
    *,
    backend: str | None = None,
    workers: int = 1,
    max_size: int | None = None,
) -> Iterator[NDArray[Any]]:
    """Yield the images of each block (n, *shape) in turn.

    The images are known to be the original ones only after the iterator has ended without an error.
    given: the model, a path of it, or a folder that holds it; may be None if the file embeds its model. `backend`
    computes it.
    max_size: most bytes of images, None for no limit. It is checked before any block is decoded, against the number of
    images at the end of the file (unless the file is a pipe), and again before each block.
    Raises FormatError for damage of any kind, ModelError if the model is missing or is not the one that the file was
    made with, SizeError for more than `max_size` bytes, UsageError for `workers` out of range.
    """
    CodingOptions.checked("workers", workers)
    header = read_header(file)
    size = _Size(header, max_size)
    if (claimed := read_ahead(file)) is not None:
        size.check(claimed.num_images)
    model = _model_of(header, given, backend)
    try:
        codec = BlockCodec.of(header, model)
    except (DataError, UsageError) as error:
        raise FormatError(f"the file needs something that this mcbits does not have: {error}") from None
    yield from _images(file, codec, model, workers, size)


def decode_with(file: BinaryIO, codec: BlockCodec, frozen: FrozenModel, workers: int) -> Iterator[NDArray[Any]]:
    """Yield the images of each block, as `decode` does, of a file that `codec` wrote.

    Raises FormatError if `codec` did not write it or if it is damaged.
    """
    if read_header(file) != codec.header:
        raise FormatError("the file's header is not the one that was written")
    yield from _images(file, codec, frozen, workers, _Size(codec.header, None))


class _Size:
    """The limit on the bytes that a file may restore; with `max_size` None there is no limit."""

    def __init__(self, header: Header, max_size: int | None):
        self._each, self._max = prod(header.shape) * header.itemsize, max_size

    def check(self, num_images: int) -> None:
        if self._max is not None and num_images * self._each > self._max:
            raise SizeError(
                f"the file claims {num_images * self._each:,} bytes of images, beyond the max_size of "
                f"{self._max:,}: raise max_size if you trust the file"
            )


def _images(
    file: BinaryIO, codec: BlockCodec, frozen: FrozenModel, workers: int, size: _Size
) -> Iterator[NDArray[Any]]:
    end, digest, count = End(0, b""), sha256(), 0

    def payloads() -> Iterator[bytes]:
        nonlocal end
        num_images = 0
        for piece in read_blocks(file):
            if isinstance(piece, End):
                end = piece
            else:
                num_images += claimed_by_block(piece)
                size.check(num_images)
                yield piece

    with ExitStack() as scope:
        if workers > 1:
            blocks = scope.enter_context(Workers(workers, codec, frozen)).decode(payloads())
        else:
            blocks = map(codec.decode, payloads())
        for images in blocks:
            digest.update(sample_bytes(images))
            count += len(images)
            registry().hook.mcbits_advanced(job="decompress", done=count, metrics={})
            yield images
    if count == 0:
        raise FormatError("the file holds no images")
    if end != End(count, digest.digest()):
        raise FormatError("the decoded images do not have the checksum of the original ones")


def _model_of(header: Header, given: Model | None, backend: str | None) -> FrozenModel:
    wanted = header.model_id.hex()
    if given is not None:
        return model_of_id(wanted, given, backend)
    if not header.model:
        raise ModelError(f"the file needs its model, {wanted[:16]}...: give it, or a folder with it, by --model")
    return load_frozen(header.model, backend or "numpy")
