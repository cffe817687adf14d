"""Progress is a plugin that listens to jobs and writes only to stderr: bars on a terminal, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from mcbits.cli.output import plain_console
from mcbits.plugins import hookimpl
from mcbits.plugins.registry import registry


@contextmanager
def progress(quiet: bool) -> Iterator[None]:
    """Show the progress of jobs and notices during a `with` block, or nothing if `quiet`."""
    if quiet:
        yield
        return
    listener = Bars() if sys.stderr.isatty() else Lines()
    with registry().listening(listener):
        try:
            yield
        finally:
            listener.close()


class Lines:
    """A listener that prints at most one line in ten seconds, and one at the end of a job."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._shown = time.monotonic()

    @hookimpl
    def mcbits_started(self, job: str, total: int) -> None:
        self._totals[job] = total

    @hookimpl
    def mcbits_advanced(self, job: str, done: int, metrics: dict[str, float]) -> None:
        if time.monotonic() - self._shown >= 10:
            self._shown = time.monotonic()
            share = f"{done / self._totals[job]:.1%}" if self._totals.get(job) else f"{done} images"
            print(f"{job}: {share}  {_format(metrics)}", file=sys.stderr, flush=True)

    @hookimpl
    def mcbits_finished(self, job: str, metrics: dict[str, float]) -> None:
        if metrics:
            print(f"{job}: finished  {_format(metrics)}", file=sys.stderr, flush=True)

    @hookimpl
    def mcbits_notice(self, message: str) -> None:
        print(f"mcbits: {message}", file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class Bars:
    """A listener that shows one bar for each job, with its metrics and the time left."""

    def __init__(self) -> None:
        from rich.progress import (
            BarColumn,
            Progress,
            TaskID,
            TaskProgressColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[metrics]}", markup=False),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=plain_console(stderr=True),
        )
        self._bars: dict[str, TaskID] = {}

    @hookimpl
    def mcbits_started(self, job: str, total: int | None) -> None:
        self._progress.start()
        if job in self._bars:
            self._progress.reset(self._bars[job], total=total, metrics="")
        else:
            self._bars[job] = self._progress.add_task(job, total=total, metrics="")

    @hookimpl
    def mcbits_advanced(self, job: str, done: int, metrics: dict[str, float]) -> None:
        if job not in self._bars:  # a decoder finds the number of images only at the end of the file
            self.mcbits_started(job, None)
        self._progress.update(self._bars[job], completed=done, metrics=_format(metrics))

    @hookimpl
    def mcbits_finished(self, job: str, metrics: dict[str, float]) -> None:
        self._progress.update(self._bars[job], total=1, completed=1, metrics=_format(metrics))

    @hookimpl
    def mcbits_notice(self, message: str) -> None:
        self._progress.console.print(f"mcbits: {message}", highlight=False)

    def close(self) -> None:
        self._progress.stop()


def _format(metrics: dict[str, float]) -> str:
    return "  ".join(
        f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}" for name, value in metrics.items()
    )
