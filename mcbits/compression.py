"""Images to a .mcb file and back: blocks, lanes and checksums around a coder, and not one bit of what was handed over is lost."""

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mcbits._rans import Stack
from mcbits.coders.base import Coder
from mcbits.container import End, Header, pack_block, pack_stack, read_blocks, read_header, unpack_stack
from mcbits.datasets.images import whole_or_nothing
from mcbits.distributions import CODELENGTH_UNIT
from mcbits.errors import DataError, FormatError, ModelError, UsageError
from mcbits.exact.iterative import Refinement
from mcbits.exact.vae import FrozenVAE, LatentVAE, Precisions
from mcbits.plugins import nearest_name, registry
from mcbits.ramp import UNIT, coder_at, parse_ramp

BLOCK_SIZE = 2048


@dataclass(frozen=True)
class Report:
    """What compressing cost.

    `ideal` (minus the coder's bound, on the particles it drew), `net` (what the message grew by) and `total` (the file) in
    bits/dim; `initial_bits` in bits; `seconds` of encoding and of `verify_seconds` of decoding again (0 when it was skipped).
    `per_image` (n,) holds what `ideal` is the mean of.
    """

    num_images: int
    ideal: float
    net: float
    total: float
    initial_bits: float
    file_bytes: int
    seconds: float
    verify_seconds: float
    per_image: NDArray[np.float64] = field(repr=False, compare=False)


def load_model(path: str | Path) -> FrozenVAE:
    """The model of a run directory, its train_config.yml, a frozen model file, or a directory of a published checkpoint.

    A model that is not frozen yet is frozen on the way in, which needs torch. Raises ModelError, FreezeError, PlatformError.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path} does not exist: give a run directory, its train_config.yml, or a frozen model file")
    directory = path if path.is_dir() else path.parent
    if path.is_file() and path.suffix == ".safetensors":
        return FrozenVAE(path)
    if (directory / "codec.safetensors").is_file():
        return FrozenVAE(directory / "codec.safetensors")
    try:
        from mcbits.exact.vae import freeze_vae
        from mcbits.models.checkpoint import load_vae
    except ModuleNotFoundError:
        raise ModelError(f'{path} is not frozen yet, which needs torch: pip install "mcbits[train]"') from None
    return freeze_vae(load_vae(path))


def make_coder(name: str, options: dict[str, Any]) -> Coder:
    """The registered coder of that name with these options; UsageError for one that it does not have."""
    cls = registry().coder(name)
    known = [f.name for f in fields(cls)]
    for key in options:
        if key not in known:
            nearest = nearest_name(key, known)
            hint = f": did you mean {nearest}?" if nearest else f": it has {', '.join(known) or 'none'}"
            raise UsageError(f"{cls.short} has no option {key}{hint}")
    return cls(**options)


def compress(
    images: NDArray,
    model: FrozenVAE | str | Path,
    coder: str = "bb-is",
    *,
    seed: int = 0,
    lanes: int = 1,
    ramp: str = "auto",
    embed_model: bool = False,
    verify: bool = True,
    iterative_post_improvement: bool = False,
    iterative_improvement_steps: int = 50,
    iterative_improvement_lr: float = 0.01,
    **options: Any,
) -> bytes:
    """Images (n, *shape), uint8 or bool, as the bytes of a .mcb file.

    `options` are the coder's (num_particles) and the precisions (prop_mprec). With `iterative_post_improvement` each q(z|x) is
    refined by gradient steps on the ELBO, which the decoder repeats. Raises DataError for images that the model cannot code,
    UsageError for options.
    """
    refinement = Refinement(iterative_improvement_steps, iterative_improvement_lr) if iterative_post_improvement else None
    names = [f.name for f in fields(Precisions)]
    precisions = Precisions(**{k: options.pop(k) for k in names if k in options})
    file = BytesIO()
    job = _Encoding(
        images, _loaded(model), make_coder(coder, options), precisions, seed, lanes, ramp, embed_model, refinement
    )
    job.write(file)
    if verify:
        file.seek(0)
        job.verify(file)
    return file.getvalue()


def decompress(blob: bytes, model: FrozenVAE | str | Path | None = None) -> NDArray:
    """The images (n, *shape) of a .mcb file's bytes; `model` may be left out if it is embedded.

    Raises FormatError for damage of any kind, ModelError when the model is missing or not the one the file was made with.
    """
    return _read_all(BytesIO(blob), model)


def compress_file(
    images: NDArray,
    destination: str | Path,
    model: FrozenVAE | str | Path,
    *,
    coder: Coder,
    precisions: Precisions = Precisions(),
    seed: int = 0,
    lanes: int = 1,
    ramp: str = "auto",
    embed_model: bool = False,
    verify: bool = True,
    refinement: Refinement | None = None,
) -> Report:
    """As `compress`, into a file that appears whole or not at all, after it has been decoded again if `verify`."""
    job = _Encoding(images, _loaded(model), coder, precisions, seed, lanes, ramp, embed_model, refinement)
    with whole_or_nothing(Path(destination)) as draft:
        begin = time.perf_counter()
        with open(draft, "wb") as file:
            job.write(file)
        encoded = time.perf_counter()
        if verify:
            with open(draft, "rb") as file:
                job.verify(file)
        return job.report(draft.stat().st_size, encoded - begin, time.perf_counter() - encoded if verify else 0.0)


def decompress_file(source: str | Path, model: FrozenVAE | str | Path | None = None) -> NDArray:
    """The images of a .mcb file; errors as for `decompress`."""
    with open(source, "rb") as file:
        return _read_all(file, model)


def info(source: str | Path) -> dict[str, Any]:
    """What a .mcb file says of itself, its checksums verified and nothing decoded; FormatError for damage."""
    with open(source, "rb") as file:
        header = read_header(file)
        start, blocks = file.tell(), 0
        for piece in read_blocks(file):
            blocks += 1
            end = piece
        assert isinstance(end, End)
        size = file.seek(0, os.SEEK_END)
    dims = end.num_images * prod(header.shape)
    return {
        "coder": header.coder,
        **header.options,
        **header.precisions,
        "num_images": end.num_images,
        "shape": list(header.shape),
        "dtype": header.dtype,
        "lanes": header.lanes,
        "blocks": blocks - 1,
        "block_size": header.block_size,
        "ramp": header.ramp / UNIT,
        "refinement": header.refinement,
        "model_id": header.model_id.hex(),
        "embedded_model_bytes": len(header.model),
        "sha256": end.digest.hex(),
        "file_bytes": size,
        "header_bytes": start - len(header.model),
        "total": 8 * size / dims if dims else 0.0,
    }


def verify(source: str | Path, model: FrozenVAE | str | Path | None = None) -> dict[str, Any]:
    """Check every checksum and, where the model is at hand, decode; what `info` says, and whether it was "decoded"."""
    found = info(source)
    decoded = model is not None or found["embedded_model_bytes"] > 0
    if decoded:
        with open(source, "rb") as file:
            for _ in decode(file, model):
                pass
    return {**found, "decoded": decoded}


def decode(file: BinaryIO, model: FrozenVAE | str | Path | None = None) -> Iterator[NDArray]:
    """The images of each block (n, *shape) in turn; what the last one yielded is vouched for only when the iterator ends."""
    header = read_header(file)
    try:
        coder, precisions = make_coder(header.coder, header.options), Precisions(**header.precisions)
        refinement = Refinement(**header.refinement) if header.refinement else None  # type: ignore[arg-type]
    except UsageError as error:
        raise FormatError(f"the file needs what this mcbits has not: {error}") from None
    vae = _model_of(header, model)
    latent, dims = vae.latent_model(precisions, refinement), prod(header.shape)
    if dims != prod(vae.shape):
        raise FormatError(f"the file holds images of shape {header.shape}, its model describes {vae.shape}")
    digest, count = sha256(), 0
    for piece in read_blocks(file):
        if isinstance(piece, End):
            if piece.num_images != count or piece.digest != digest.digest():
                raise FormatError("the decoded images do not have the checksum of the original ones")
            return
        num_images, stack = unpack_stack(piece, header)
        images = decode_block(coder, header.ramp, latent, stack, num_images, dims).astype(header.dtype).reshape(-1, *header.shape)
        digest.update(images.tobytes())
        count += num_images
        registry().hook.mcbits_advanced(job="decompress", done=count, metrics={})
        yield images


def encode_block(
    coder: Coder, ramp: int, model: LatentVAE, x: NDArray[np.int32], stack: Stack
) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Push x (n, dims), `stack.lanes` images a step; yields the number pushed so far and their ideal codelengths, step by step."""
    lanes = stack.lanes
    for step, model_ahead in enumerate(model.ahead(x, lanes)):
        images = x[step * lanes : (step + 1) * lanes]
        ideal = coder_at(coder, ramp, step).encode(stack.select(0, len(images)), images, model_ahead)
        yield step * lanes + len(images), ideal


def decode_block(coder: Coder, ramp: int, model: LatentVAE, stack: Stack, num_images: int, dims: int) -> NDArray[np.uint8]:
    """Pop what `encode_block` pushed, the last step first: (num_images, dims)."""
    x, lanes = np.empty((num_images, dims), np.uint8), stack.lanes
    for step in reversed(range(-(-num_images // lanes))):
        first, last = step * lanes, min((step + 1) * lanes, num_images)
        x[first:last] = coder_at(coder, ramp, step).decode(stack.select(0, last - first), model)
    return x


class _Encoding:
    """One job: checks everything before the first byte is written, then writes block after block."""

    def __init__(
        self,
        images: NDArray,
        vae: FrozenVAE,
        coder: Coder,
        precisions: Precisions,
        seed: int,
        lanes: int,
        ramp: str,
        embed_model: bool,
        refinement: Refinement | None,
    ):
        self.images, self.vae, self.coder, self.seed = _checked(images, vae), vae, coder, seed
        if not 1 <= lanes <= 1 << 16:
            raise UsageError(f"lanes must be between 1 and 65536, not {lanes}")
        self.model = vae.latent_model(precisions, refinement)
        self.header = Header(
            coder=coder.short,
            options=coder.get_config(),
            precisions=asdict(precisions),
            shape=self.images.shape[1:],
            dtype=str(self.images.dtype),
            lanes=lanes,
            block_size=BLOCK_SIZE,
            ramp=parse_ramp(ramp, coder, self.model, _flat(self.images[:BLOCK_SIZE])),
            refinement=asdict(refinement) if refinement else {},
            model_id=bytes.fromhex(vae.model_id),
            model=vae.data if embed_model else b"",
        )
        self.net = self.initial = 0.0
        self.ideal = np.zeros(len(self.images))

    def write(self, file: BinaryIO) -> None:
        hook, shown, digest = registry().hook, time.monotonic(), sha256()
        hook.mcbits_started(job="compress", total=len(self.images))
        file.write(self.header.pack())
        for number, first in enumerate(range(0, len(self.images), BLOCK_SIZE)):
            block = np.ascontiguousarray(self.images[first : first + BLOCK_SIZE])
            digest.update(block.tobytes())
            lanes = min(self.header.lanes, len(block))
            p = self.model.precisions
            stack = Stack(lanes, p.lprec, p.bprec, self.seed ^ number << 32)
            for done, ideal in encode_block(self.coder, self.header.ramp, self.model, _flat(block), stack):
                self.ideal[first + done - len(ideal) : first + done] = ideal * CODELENGTH_UNIT
                if time.monotonic() - shown > 0.1:
                    shown = time.monotonic()
                    hook.mcbits_advanced(job="compress", done=first + done, metrics=self._rates(first + done, stack))
            self.net += float(stack.net_bits().sum())
            self.initial += float(stack.initial_bits().sum())
            file.write(pack_block(number, pack_stack(len(block), stack)))
        file.write(End(len(self.images), digest.digest()).pack())
        hook.mcbits_finished(job="compress", metrics=self._rates(len(self.images)))

    def verify(self, file: BinaryIO) -> None:
        # The checksum inside the file is that of the images, so decoding without an error is decoding the images.
        hook = registry().hook
        hook.mcbits_started(job="decompress", total=len(self.images))
        for _ in decode(file, self.vae):
            pass
        hook.mcbits_finished(job="decompress", metrics={})

    def report(self, file_bytes: int, seconds: float, verify_seconds: float) -> Report:
        rates = self._rates(len(self.images))
        total = 8 * file_bytes / self.images.size
        return Report(
            num_images=len(self.images),
            ideal=rates["ideal"],
            net=rates["net"],
            total=total,
            initial_bits=self.initial,
            file_bytes=file_bytes,
            seconds=seconds,
            verify_seconds=verify_seconds,
            per_image=self.ideal / prod(self.images.shape[1:]),
        )

    def _rates(self, num_images: int, stack: Stack | None = None) -> dict[str, float]:
        net, initial = self.net, self.initial
        if stack is not None:
            net, initial = net + float(stack.net_bits().sum()), initial + float(stack.initial_bits().sum())
        dims = num_images * prod(self.images.shape[1:])
        return {"ideal": float(self.ideal[:num_images].sum()) / dims, "net": net / dims, "total": (net + initial) / dims}


def _flat(images: NDArray) -> NDArray[np.int32]:
    return images.reshape(len(images), -1).astype(np.int32)


def _checked(images: NDArray, vae: FrozenVAE) -> NDArray:
    images = np.asarray(images)
    if images.dtype.kind in "iu" and images.dtype != np.uint8:
        raise DataError(f"images must be uint8 or bool, not {images.dtype}: convert them without loss first")
    if images.dtype not in (np.uint8, np.bool_):
        raise DataError(f"images must be uint8 or bool, not {images.dtype}")
    if images.ndim < 2 or (images.shape[1:] != vae.shape and images.shape[1:] != (prod(vae.shape),)):
        raise DataError(f"images of shape {images.shape[1:]} meet a model of shape {vae.shape}: train one on such images")
    if not len(images):
        raise DataError("there are no images to compress")
    for first in range(0, len(images), BLOCK_SIZE):
        if (largest := int(images[first : first + BLOCK_SIZE].max())) >= vae.num_symbols:
            raise DataError(f"a pixel is {largest}, but the model codes 0 ... {vae.num_symbols - 1}: binarize the images first")
    return images


def _loaded(model: FrozenVAE | str | Path) -> FrozenVAE:
    return model if isinstance(model, FrozenVAE) else load_model(model)


def _model_of(header: Header, model: FrozenVAE | str | Path | None) -> FrozenVAE:
    if model is None:
        if not header.model:
            raise ModelError(f"the file needs its model, {header.model_id.hex()[:16]}...: give it with --model")
        return FrozenVAE(header.model)
    vae = _loaded(model)
    if vae.model_id != header.model_id.hex():
        raise ModelError(f"the file was made with model {header.model_id.hex()[:16]}..., not {vae.model_id[:16]}...: give that one")
    return vae


def _read_all(file: BinaryIO, model: FrozenVAE | str | Path | None) -> NDArray:
    return np.concatenate(list(decode(file, model)))
