"""A report draws everything that it can. For everything else, a line on the page says why it is missing."""

import json
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mcbits.archive.models import load_model
from mcbits.archive.options import CodingOptions
from mcbits.config import CompressConfig
from mcbits.datasets.base import find_dataset
from mcbits.datasets.selection import stored_images, test_images
from mcbits.errors import McbitsError, UsageError, lacking
from mcbits.files import whole_or_nothing
from mcbits.studies.baselines import Baseline, baselines
from mcbits.studies.report import measure
from mcbits.studies.report.page import Grid, Picture, page
from mcbits.studies.reproduce import Cell, config_of, measure_cells, read_cells

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLE = 500
"""Most images that are measured only for a report."""

_PARTICLES = (1, 2, 5, 10, 20, 50)
_CODERS = (("bb-is", "off"), ("bb-cis", "off"), ("bb-is", "auto"))
_SHOWN, _EXTREMES = 12, 6


def write_report(source: Path, output: Path, datadir: Path | None = None) -> list[Path]:
    """Draw a run directory, or a directory that `reproduce` wrote, and return the paths of the files.

    The files are `output`/index.html, self-contained, and its PNGs. A run is measured on up to SAMPLE of its test
    images in `datadir`, which is by default that of the training.
    This needs matplotlib, and torch for a run or a model that is not frozen yet. Raises UsageError if matplotlib is
    missing or if `source` is neither kind of directory, DataError if a file cannot be written.
    """
    try:
        from matplotlib import style
    except ModuleNotFoundError:
        raise UsageError(f"pictures need {lacking('matplotlib')}") from None
    report = _Report(source, output, datadir)
    output.mkdir(parents=True, exist_ok=True)
    with style.context("default"):  # not what the user's matplotlibrc asks of other plots
        report.draw()
    return report.write()


class _Report:
    def __init__(self, source: Path, output: Path, datadir: Path | None) -> None:
        if not source.exists():
            raise UsageError(f"{source} does not exist: give a run directory, or what mcbits reproduce wrote")
        self.source = source if source.is_dir() else source.parent
        self.output = output
        self.tables: list[Grid] = []
        self.pictures: list[Picture] = []
        self.left_out: list[str] = []
        self.limits: dict[tuple[str, str], tuple[float | None, list[Baseline]]] = {}
        self.is_run = (self.source / "train_config.yml").is_file()
        if self.is_run:
            cells = self._measured_run(datadir)
        else:
            cells = read_cells(self.source)
            if not cells:
                raise UsageError(
                    f"{source} is neither a run directory nor what mcbits reproduce wrote: give one of these"
                )
        if datadir is not None:
            cells = [replace(cell, datadir=str(datadir)) for cell in cells]
        self.left_out += [f"{cell.title}: {cell.skipped}" for cell in cells if cell.skipped]
        self.cells = [cell for cell in cells if cell.outcome]

    def draw(self) -> None:
        for table in dict.fromkeys(cell.table for cell in self.cells):
            self.tables.append(_results([cell for cell in self.cells if cell.table == table]))
        for columns in dict.fromkeys((cell.dataset, cell.train, cell.test) for cell in self.cells):
            self._try(f"rates, {columns[1]} to {columns[2]}", self._rates, columns)
        if self.is_run:
            self._try("training curves", self._training)
        if self.cells:
            self._try("pictures of the model", self._model)

    def write(self) -> list[Path]:
        title = f"mcbits: {self.source.resolve().name}"
        html = self.output / "index.html"
        files = {html: page(title, self.tables, self.pictures, self.left_out).encode()}
        files |= {self.output / f"{picture.name}.png": picture.png for picture in self.pictures}
        for path, data in files.items():
            with whole_or_nothing(path) as draft:
                draft.write_bytes(data)
        return list(files)

    def _try(self, name: str, draw: Callable[..., None], *arguments: object) -> None:
        try:
            draw(*arguments)
        except McbitsError as error:
            self.left_out.append(f"{name}: {error}")

    def _add(self, name: str, figure: "Figure", caption: str) -> None:
        file = BytesIO()
        figure.savefig(file, format="png", dpi=110)
        self.pictures.append(Picture(name, caption, file.getvalue()))

    def _measured_run(self, datadir: Path | None) -> list[Cell]:
        overrides = {"train_config": self.source} | ({} if datadir is None else {"datadir": datadir})
        config = CompressConfig.load(None, overrides)
        try:
            num_images = min(SAMPLE, len(stored_images(config)[0]))
        except McbitsError as error:
            self.left_out.append(f"everything about test images: {error}")
            return []
        cells = [
            Cell(
                table=self.source.resolve().name,
                label=f"{coder} ({particles}){', ramp' if ramp == 'auto' else ''}",
                coder=coder,
                options={"num_particles": particles},
                ramp=ramp,
                model=str(self.source),
                dataset=config.dataset,
                train=config.split,
                test=config.split,
                num_compress=num_images,
                seed=config.seed,
                datadir=str(config.datadir),
                published=None,
                published_message=None,
                num_published=num_images,
            )
            for coder, ramp in _CODERS
            for particles in _PARTICLES
        ]
        return measure_cells(cells, self.output / "cells")

    def _rates(self, columns: tuple[str, str, str]) -> None:
        from mcbits.studies.report import figures

        dataset, train, test = columns
        cells = [cell for cell in self.cells if (cell.dataset, cell.train, cell.test) == columns]
        points: dict[tuple[str, int], figures.Point] = {}
        for cell in cells:
            o, particles = cell.outcome, int(cell.options.get("num_particles", 1))
            assert o is not None
            published = cell.published, cell.published_message
            point = figures.Point(_series(cell), particles, o.ideal, o.net, o.message, o.standard_error, *published)
            points.setdefault((point.series, particles), point)
        has_splits = bool(find_dataset(dataset).splits)
        what = f"{dataset} {test} test images" if has_splits else f"{dataset} test images"
        if (dataset, test) not in self.limits:
            self.limits[dataset, test] = self._limits(cells[0], what)
        floor, others = self.limits[dataset, test]
        archives = {each.name: each.file for each in others if each.mode == "archive"}
        trained = f", models trained on {train}" if has_splits else ""
        assert cells[0].outcome is not None
        self._add(
            f"rates-{train}-{test}" if has_splits else "rates",
            figures.rates(f"{cells[0].outcome.num_images:,} {what}{trained}", list(points.values()), floor, archives),
            f"Rates on {cells[0].outcome.num_images:,} {what}{trained}. Net is what a message grows by; message counts "
            "its initial bits and stack heads; ideal is minus the bound on the particles that the coder drew. No code "
            "for pixels binarised at random can be shorter than the noise of binarisation. Compressors made one "
            f"archive of {min(SAMPLE, cells[0].outcome.num_images)} of these images.",
        )

    def _limits(self, cell: Cell, what: str) -> tuple[float | None, list[Baseline]]:
        """Return the entropy of the binarisation noise (None if there is none) and the results of compressors.

        If the data cannot be read, a line of `left_out` says so.
        """
        floor: float | None = None
        others: list[Baseline] = []
        try:
            config, sample = config_of(cell), _sample(cell)
            if config.binarize:
                floor = measure.noise_entropy(*stored_images(config))
            others = baselines(test_images(sample))
            self.tables.append(
                _compressors(others, f"General-purpose compressors on {sample.num_compress} of the {what}")
            )
        except McbitsError as error:
            self.left_out.append(f"compressors and noise entropy on the {what}: {error}")
        return floor, others

    def _training(self) -> None:
        from mcbits.studies.report import figures

        path, lines = self.source / "metrics.jsonl", []
        if not path.is_file():
            raise UsageError(f"there is no metrics.jsonl in {self.source}: mcbits train writes it")
        for number, text in enumerate(path.read_bytes().splitlines(), 1):
            try:
                line = json.loads(text)
                lines.append({key: float(line[key]) for key in ("epoch", "lr", "loss", "test")})
            except (ValueError, KeyError, TypeError):
                self.left_out.append(f"training curves, line {number} of metrics.jsonl: it is damaged or cut off")
        if not lines:
            raise UsageError(f"metrics.jsonl in {self.source} holds no whole epoch")
        self._add(
            "training",
            figures.training(lines, prod(load_model(self.source).shape)),
            "Minus the bound that was trained: on the training images in the course of an epoch, and on the test "
            "images after it.",
        )

    def _model(self) -> None:
        from mcbits.studies.report import figures

        cell = min(self.cells, key=lambda cell: (cell.train != cell.test, cell.outcome.net))  # type: ignore[union-attr]
        config, particles = _sample(cell), _PARTICLES[-1]
        frozen, images = load_model(Path(cell.model)), test_images(_sample(cell))
        precisions, of = config.options.precisions, f"Model {Path(cell.model).resolve().name}"
        given = {}
        for coder, ramp in _CODERS:
            name = f"{coder} ({particles}){', ramp' if ramp == 'auto' else ''}"
            options = CodingOptions.of(
                coder, num_particles=particles, ramp=ramp, seed=cell.seed, **precisions.get_config()
            )
            given[name] = measure.initial_bits(images, frozen, options)
        self._add(
            "initial-bits",
            figures.initial_bits(given),
            f"{of}: random bits that a message must be given before anything can be popped from it, and what share of "
            "the net bits they are. They are what message exceeds net by, but for the heads of the stack.",
        )
        if frozen.sequences or (images.ndim != 3 and images.shape[3:] != (3,)):
            raise UsageError(f"images of shape {images.shape[1:]} are neither grey nor colour")
        model = frozen.latent_model(precisions)
        white, count = frozen.num_symbols - 1, min(_SHOWN, len(images))
        chosen = images[np.linspace(0, len(images) - 1, count).astype(int)]
        means = measure.reconstructions(model, chosen, cell.seed)
        caption = "mean pixels, from the frozen model, which is what a file is coded with."
        self._add("reconstructions", figures.reconstructions(chosen, means, white), f"{of}: {caption}")
        self._add(
            "samples", figures.samples(measure.samples(model, 2 * _SHOWN, cell.seed, frozen.shape)), f"{of}: {caption}"
        )
        found = measure.codelengths(model, images, particles, cell.seed)
        order, extremes = np.argsort(found.ideal, kind="stable"), min(_EXTREMES, len(images))

        def group(indices: NDArray[np.intp]) -> list[tuple[NDArray[np.uint8], NDArray[np.float64], float]]:
            return [(images[i], found.pixels[i], float(found.ideal[i])) for i in indices]

        self._add(
            "heat-maps",
            figures.heat_maps(group(order[:extremes]), group(order[::-1][:extremes]), white),
            f"{of}: of {len(images)} test images, those with the shortest and the longest ideal codelength at "
            f"N = {particles}, and what each pixel costs given the particle of largest weight. The latent is the rest.",
        )


def _sample(cell: Cell) -> CompressConfig:
    """Return the cell's config with at most SAMPLE images."""
    assert cell.outcome is not None
    return config_of(replace(cell, num_compress=min(SAMPLE, cell.outcome.num_images)))


def _series(cell: Cell) -> str:
    ramp = "" if cell.ramp == "off" else ", ramp"
    return f"{cell.coder}{ramp}{', iterative' if cell.options.get('iterative_post_improvement') else ''}"


def _results(cells: list[Cell]) -> Grid:
    headings = (
        "",
        "train to test",
        "images",
        "published",
        "evaluated",
        "ideal",
        "net",
        "s.e.",
        "publ. message",
        "message",
        "file",
    )
    rows = []
    for cell in cells:
        o = cell.outcome
        assert o is not None
        figures = (
            cell.published,
            o.evaluated,
            o.ideal,
            o.net,
            o.standard_error,
            cell.published_message,
            o.message,
            o.file,
        )
        texts = ("" if each is None else f"{each:.4f}" for each in figures)
        rows.append([cell.label, f"{cell.train} to {cell.test}", f"{o.num_images:,}", *texts])
    caption = (
        f"{cells[0].table}, bits/dim. Every file was decoded and compared. Published: of other images. Evaluated: the "
        "float network. File: all its bytes, without the model."
    )
    return Grid(caption, headings, rows)


def _compressors(others: list[Baseline], caption: str) -> Grid:
    modes = {"archive": "one archive", "each": "image by image"}
    rows = [[each.name, modes[each.mode], f"{each.file_bytes:,}", f"{each.file:.4f}"] for each in others]
    return Grid(caption, ("", "", "bytes", "bits/dim"), rows)
