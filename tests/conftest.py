"""Every test runs as on a quiet machine without a terminal: no deadline, no colours that the environment asks for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from builders import binary_images, binary_vae
from hypothesis import settings
from numpy.typing import NDArray

from mcbits.cli import main

if TYPE_CHECKING:
    from mcbits.latents.frozen import FrozenModel

# A shell starts what runs in its background deaf to Ctrl-C, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What makes rich and typer believe in a terminal that is not there, on a build server say: a child inherits it too.
for name in ("FORCE_COLOR", "PY_COLORS", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "GITHUB_ACTIONS"):
    os.environ.pop(name, None)

settings.register_profile("mcbits", deadline=None)
settings.load_profile("mcbits")


@pytest.fixture(scope="module")
def vae() -> FrozenModel:
    """A small frozen model; tests only read it."""
    return binary_vae().freeze()


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    """Images for `vae`; tests only read them."""
    return binary_images(60)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command line in this process: (exit code, stdout, stderr)."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        code = exit.value.code
        assert isinstance(code, int)
        return code, *capfd.readouterr()

    return run
