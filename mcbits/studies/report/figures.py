"""A figure is a function of numbers: each axis says what it shows and in which unit, and labels do not overlap."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter
from numpy.typing import NDArray

# The colours of Okabe & Ito, which colour-blind readers can distinguish.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREY = "#777777"
_GAP = 0.045  # distance between labels, as a share of an axis's height


@dataclass(frozen=True)
class Point:
    """The rates of a coder in bits/dim with `particles` N; None means that a value is not known."""

    series: str
    particles: int
    ideal: float
    net: float
    message: float
    standard_error: float | None
    published: float | None
    published_message: float | None


def rates(title: str, points: Sequence[Point], floor: float | None, others: Mapping[str, float]) -> Figure:
    """Draw net and message against particles, with `others` (compressors) and `floor` (noise entropy) as lines.

    A second plot shows net and ideal alone. All rates are in bits/dim.
    """
    figure = Figure(figsize=(13, 5.4), layout="constrained")
    figure.suptitle(title, parse_math=False)  # the name of a user's data may hold a $
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    names = list(dict.fromkeys(point.series for point in points))
    for number, name in enumerate(names):
        colour, shift = _COLOURS[number % len(_COLOURS)], 1.04**number  # so that points do not cover each other
        own = sorted((point for point in points if point.series == name), key=lambda point: point.particles)
        n = np.array([point.particles for point in own])
        net = [point.net for point in own]
        left.plot(n, [point.message for point in own], "--s", color=colour, markersize=4, linewidth=1)
        left.plot(n, net, "-o", color=colour, markersize=4)
        right.plot(n * shift, [point.ideal for point in own], "o", mfc="none", mec=colour, markersize=10)
        errors = [point.standard_error or 0.0 for point in own]
        right.errorbar(n * shift, net, errors, fmt="-o", color=colour, markersize=4, elinewidth=0.8, capsize=3)
        for axes, key, moved in (
            (left, "published", 1.0),
            (left, "published_message", 1.0),
            (right, "published", shift),
        ):
            known = [(point.particles * moved, rate) for point in own if (rate := getattr(point, key)) is not None]
            axes.plot(
                [x for x, _ in known], [y for _, y in known], "x", color=colour, markersize=8, markeredgewidth=1.8
            )
    left.set_yscale("log")
    _lines(left, dict(others) | ({} if floor is None else {"noise of binarisation": floor}))
    particles = sorted({point.particles for point in points})
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlim(particles[0] / 1.4, particles[-1] * 1.4)
        axes.xaxis.set_major_locator(FixedLocator(particles))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.set(xlabel="particles N", ylabel="rate, bits/dim")
        axes.grid(alpha=0.25)
    left.set_title("net and message (logarithmic)", fontsize=10)
    right.set_title("net, with standard errors over images", fontsize=10)
    published = any(point.published is not None for point in points)
    coders = [Line2D([], [], color=_COLOURS[i % len(_COLOURS)], label=name) for i, name in enumerate(names)]
    cross = [_mark("x", "none", "published", markeredgewidth=1.8)] if published else []
    left.legend(handles=[*coders, _mark("o", "-", "net"), _mark("s", "--", "message"), *cross], fontsize=9)
    right.legend(
        handles=[_mark("o", "-", "net"), _mark("o", "none", "ideal", mfc="none", markersize=10), *cross], fontsize=9
    )
    return figure


def training(epochs: Sequence[Mapping[str, float]], dims: int) -> Figure:
    """Draw loss and test rate over epochs, in bits/dim, and the learning rate.

    epochs: the lines of metrics.jsonl. dims: of an image.
    """
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    epoch = [line["epoch"] for line in epochs]
    mark = "o" if len(epoch) < 30 else ""
    to_rate = 1 / (math.log(2) * dims)
    above.plot(
        epoch, [line["loss"] * to_rate for line in epochs], marker=mark, color=_COLOURS[0], label="training images"
    )
    above.plot(epoch, [line["test"] for line in epochs], marker=mark, color=_COLOURS[1], label="test images")
    above.set(ylabel="minus the bound, bits/dim", title="Training")
    above.legend()
    below.plot(epoch, [line["lr"] for line in epochs], drawstyle="steps-mid", color=_GREY)
    below.set(xlabel="epoch", ylabel="learning rate", ylim=(0, None))
    for axes in (above, below):
        axes.grid(alpha=0.25)
    below.xaxis.get_major_locator().set_params(integer=True)
    return figure


def reconstructions(images: NDArray[Any], means: NDArray[np.float64], white: float) -> Figure:
    """Draw the originals above E[x|z]. Both are (n, h, w) or (n, h, w, 3), the originals 0..white, E[x|z] 0..1."""
    figure = Figure(figsize=(12, 2.7), layout="constrained")
    figure.suptitle("Test images, and what the model makes of them")
    grid = figure.subplots(2, len(images), squeeze=False)
    for column, (image, mean) in enumerate(zip(images, means, strict=True)):
        _image(grid[0, column], image / white)
        _image(grid[1, column], mean)
    for axes, label in zip(grid[:, 0], ("original", "E[x|z], z ~ q(z|x)"), strict=True):
        axes.set_ylabel(label, fontsize=9)
    return figure


def samples(means: NDArray[np.float64]) -> Figure:
    """Draw E[x|z] for z from the prior, (2 n, h, w) or (2 n, h, w, 3), 0..1."""
    figure = Figure(figsize=(12, 2.7), layout="constrained")
    figure.suptitle("Samples of the model: E[x|z], z ~ p(z)")
    for axes, mean in zip(figure.subplots(2, len(means) // 2).flat, means, strict=True):
        _image(axes, mean)
    return figure


def heat_maps(
    best: Sequence[tuple[NDArray[Any], NDArray[np.float64], float]],
    worst: Sequence[tuple[NDArray[Any], NDArray[np.float64], float]],
    white: float,
) -> Figure:
    """Draw the bits per pixel of the best and the worst images.

    An item has the image (h, w) or (h, w, 3) with values 0..white, the bits of its pixels, and the bits of the image.
    """
    figure = Figure(figsize=(12, 7.6), layout="constrained")
    figure.suptitle("Bits per pixel of the images that cost least and most")
    grid = figure.subplots(4, len(best), squeeze=False)
    maps = [pixels.reshape(*pixels.shape[:2], -1).sum(-1) for _, pixels, _ in (*best, *worst)]
    top = max(float(np.percentile(maps, 99.9)), 1.0)
    for row, (name, group) in enumerate((("least", best), ("most", worst))):
        for column, (image, _, ideal) in enumerate(group):
            bits = maps[row * len(best) + column]
            _image(grid[2 * row, column], image / white)
            grid[2 * row, column].set_title(f"{ideal:.0f} bits", fontsize=10)
            shown = grid[2 * row + 1, column].imshow(bits, cmap="inferno", vmin=0, vmax=top)
            grid[2 * row + 1, column].set_title(f"pixels {bits.sum():.0f}, latent {ideal - bits.sum():.0f}", fontsize=8)
            grid[2 * row + 1, column].set(xticks=[], yticks=[])
        grid[2 * row, 0].set_ylabel(f"costs {name}", fontsize=10)
        grid[2 * row + 1, 0].set_ylabel("bits per pixel", fontsize=10)
    figure.colorbar(shown, ax=grid, label="-log2 p(pixel | z), bits", shrink=0.6, extend="max")
    return figure


def initial_bits(given: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]) -> Figure:
    """Draw initial bits, and their share of the net bits, against the images pushed; all axes are logarithmic.

    given: {coder: (initial bits drawn so far (n,), net bits (n,))}.
    """
    figure = Figure(figsize=(12, 4.8), layout="constrained")
    figure.suptitle("Initial bits of one message")
    left, right = figure.subplots(1, 2)
    for number, (name, (bits, net)) in enumerate(given.items()):
        images = np.arange(1, len(bits) + 1)
        left.step(images, bits, where="post", color=_COLOURS[number], label=f"{name}: {bits[-1]:,.0f} bits in all")
        right.plot(
            images,
            100 * bits / net,
            color=_COLOURS[number],
            label=f"{name}: {100 * bits[-1] / net[-1]:.2g} % at the end",
        )
    drawn = [bits for bits, _ in given.values()]
    left.set(
        ylabel="initial bits drawn so far",
        ylim=(min(bits[0] for bits in drawn) / 3, max(bits[-1] for bits in drawn) * 10),
    )
    right.set(ylabel="initial bits, % of net bits")
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="images pushed")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(lambda value, _: f"{value:,g}")
        axes.grid(alpha=0.25)
        axes.legend(fontsize=9)
    return figure


def _mark(marker: str, line: Any, label: str, **style: Any) -> Line2D:
    return Line2D([], [], color=_GREY, marker=marker, linestyle=line, label=label, **({"markersize": 4} | style))


def _image(axes: Axes, image: NDArray[Any]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])


def _lines(axes: Axes, lines: Mapping[str, float]) -> None:
    """Draw horizontal lines with labels at the right end, moved apart where they would overlap."""
    lines = {name: rate for name, rate in lines.items() if rate > 0}  # a logarithmic axis has no zero
    for rate in lines.values():
        axes.axhline(rate, color=_GREY, linewidth=0.8, linestyle=":")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    _plain_ticks(axes, low, high)
    rates = sorted(lines.items(), key=lambda item: item[1])
    ends = np.array([math.log(rate / low) / math.log(high / low) for _, rate in rates])
    for (name, rate), end, at in zip(rates, ends, _apart(ends), strict=True):
        axes.annotate(
            f"{name} {rate:.3f}",
            (1, end),
            (1.05, at),
            xycoords="axes fraction",
            fontsize=8,
            color="#444444",
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": _GREY,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )


def _apart(wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rising heights that are near the rising heights `wanted` and at least _GAP apart."""
    steps = _GAP * np.arange(len(wanted))
    # The smallest heights above `wanted` that are far enough apart, and the largest below. Their means are too.
    above = np.maximum.accumulate(wanted - steps) + steps
    below = np.minimum.accumulate((wanted - steps)[::-1])[::-1] + steps
    midway: NDArray[np.float64] = (above + below) / 2
    return midway


def _plain_ticks(axes: Axes, low: float, high: float) -> None:
    candidates = [m * 10.0**e for e in range(-4, 3) for m in (1, 1.5, 2, 2.5, 3, 4, 5, 7)]
    axes.yaxis.set_major_locator(FixedLocator([each for each in candidates if low <= each <= high]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
