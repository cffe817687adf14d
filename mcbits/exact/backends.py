"""A backend multiplies integer-valued matrices. It is used only after it has computed a known product exactly."""

from collections.abc import Hashable
from functools import cache
from typing import Any, Protocol

import numpy as np

from mcbits.errors import PlatformError, UsageError, lacking
from mcbits.exact.fixed import SIGNIFICAND_BITS
from mcbits.exact.settings import exact_products


class Backend(Hashable, Protocol):
    """The place where products are computed. `elements` is how many numbers a batch should hold at once."""

    elements: int

    def prepare(self, weight: np.ndarray) -> Any:
        """Return the weight, float32 or float64 (..., K, N), in the form and on the device that `product` needs."""

    def product(self, a: np.ndarray, weight: Any, out: np.ndarray) -> np.ndarray:
        """Write a @ weight to `out` and return `out`.

        a (..., M, K) and out (..., M, N) are C-contiguous and have the weight's dtype.
        """


class NumpyBackend:
    """The backend of numpy's matmul, which uses the BLAS that numpy was built with."""

    elements = 1 << 18  # 1 MB of float32: the pass after a product finds it in cache

    def prepare(self, weight: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(weight)

    def product(self, a: np.ndarray, weight: np.ndarray, out: np.ndarray) -> np.ndarray:
        return np.matmul(a, weight, out=out)


class TorchBackend:
    """The backend of torch on a CPU or CUDA device, in IEEE float32 and float64: no TF32, no reduced precision."""

    def __init__(self, device: str) -> None:
        try:
            import torch
        except ImportError:
            raise UsageError(f"backend 'torch' needs {lacking('torch')}, or use backend 'numpy'") from None
        self._torch = torch
        try:
            self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise UsageError(f"backend 'torch:{device}' is not available here: {reason}") from None
        self.elements = 1 << (18 if self.device.type == "cpu" else 24)

    def prepare(self, weight: np.ndarray) -> Any:
        return self._torch.from_numpy(np.ascontiguousarray(weight)).to(self.device)

    def product(self, a: np.ndarray, weight: Any, out: np.ndarray) -> np.ndarray:
        left = self._torch.from_numpy(a).to(self.device)
        with exact_products(self.device.type):
            result = left @ weight
        np.copyto(out, result.cpu().numpy())
        return out


@cache
def backend(name: str) -> Backend:
    """Return the backend "numpy", "torch" (on CUDA if available, else on the CPU) or "torch:DEVICE".

    Raises UsageError for any other name, or if torch or the device is not available.
    """
    kind, _, device = name.partition(":")
    if name == "numpy":
        return NumpyBackend()
    if kind == "torch":
        return TorchBackend(device)
    raise UsageError(f"unknown backend {name!r}; there are numpy, torch, torch:cpu and torch:cuda")


@cache
def self_test(engine: Backend, dtype: str) -> None:
    """Check that a product whose sums reach 2^24 - 1 in float32 (2^53 - 1 in float64) is exact.

    Raises PlatformError otherwise.
    """
    limit = (1 << SIGNIFICAND_BITS[dtype]) - 1
    generator = np.random.default_rng(24)
    bits = SIGNIFICAND_BITS[dtype] // 2 - 4
    magnitudes = generator.integers(1 << bits - 1, 1 << bits, 129)
    magnitudes[-1] = 1
    a = magnitudes * generator.choice((-1, 1), (32, 129))
    w = generator.integers(1 << bits - 1, 1 << bits, (129, 128)) * generator.choice((-1, 1), (129, 128))
    # The last term raises every sum of magnitudes to the limit. In element (0, 0) all terms are positive, so the sum
    # itself reaches the limit.
    a[0], w[:, 0] = magnitudes, np.abs(w[:, 0])
    w[-1] = limit - magnitudes[:-1] @ np.abs(w[:-1])
    out = np.empty((32, 128), dtype)
    engine.product(a.astype(dtype), engine.prepare(w.astype(dtype)), out)
    if not np.array_equal(out.astype(np.int64), a @ w):
        raise PlatformError(
            f"{type(engine).__name__} rounds {dtype} products of integers below {limit + 1} here; "
            "use another backend, and turn off TF32, bfloat16 and fast-math"
        )
