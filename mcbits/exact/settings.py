"""What mcbits computes with torch does not depend on what the program around it has set, and leaves that as it was."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_LOCK = threading.Lock()
_users = 0
_put_back: Callable[[], None] | None = None


@contextmanager
def own_settings(device: str = "cpu") -> Iterator[None]:
    """Let torch compute as it does when it starts during a `with` block, or a call of the function so decorated.

    Matrix products are IEEE: no TF32, no bfloat16, no autocast on `device`. New tensors are float32 and on the CPU, and
    gradients are recorded. Some of these settings are the whole process's, so all threads have them.
    """
    import torch

    with ExitStack() as scope:
        if torch.get_default_device().type != "cpu":
            scope.enter_context(torch.device("cpu"))
        if (dtype := torch.get_default_dtype()) != torch.float32:
            scope.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        if torch.is_inference_mode_enabled():
            scope.enter_context(torch.inference_mode(False))
        if not torch.is_grad_enabled():
            scope.enter_context(torch.enable_grad())
        scope.enter_context(exact_products(device))
        yield


@contextmanager
def exact_products(device: str) -> Iterator[None]:
    """Let float32 products of torch be IEEE on `device` during a `with` block. Blocks of threads may overlap."""
    import torch

    global _users, _put_back
    with _LOCK:
        # Every block looks, since the program may have set something since the first one began. The last one puts back
        # what the first one found.
        put_back = _set_ieee(torch)
        _put_back = _put_back or put_back
        _users += 1
    try:
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                yield
        else:
            yield
    finally:
        with _LOCK:
            _users -= 1
            if _users == 0 and _put_back is not None:
                _put_back()
                _put_back = None


def _set_ieee(torch: Any) -> Callable[[], None] | None:
    """Set the precision of products to IEEE and return what puts it back; None if it is IEEE already."""
    # Torch has two ways to say this. The old one is one setting for all, and raises an error when it is read while the
    # new one, of each backend, says something else.
    new = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)
    before = [each.fp32_precision for each in new]
    reduced = not {"ieee", "none"}.issuperset(before)
    if not reduced and torch.get_float32_matmul_precision() == "highest":
        return None
    own = []
    for each, value in zip(new, before, strict=True):
        each.fp32_precision = "none"  # as the settings above it say
        own.append("none" if each.fp32_precision == value else value)
        each.fp32_precision = "ieee"
    old = torch.get_float32_matmul_precision()
    if old != "highest":
        torch.set_float32_matmul_precision("highest")

    def put_back() -> None:
        if old != "highest":
            torch.set_float32_matmul_precision(old)
        for each, value in zip(new, own, strict=True):
            each.fp32_precision = value

    return put_back
