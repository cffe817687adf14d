"""A table is computed cell by cell, and no cell twice: a finished one is a file named after all that it depends on."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mcbits.archive.jobs import compress_file
from mcbits.archive.models import load_model
from mcbits.config import CompressConfig
from mcbits.datasets.selection import test_images
from mcbits.errors import DataError, ModelError, PluginError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins.registry import nearest_name, own_version, registry
from mcbits.training.evaluation import standard_error

TABLES = Path(__file__).parent / "tables"


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Spec):
    """One coder; `published` net and `published_message` rates in bits/dim, one a column, or none at all."""

    label: str
    coder: str
    checkpoint: int
    bound: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    ramp: str = "off"
    published: list[float] = Field(default_factory=list)
    published_message: list[float] = Field(default_factory=list)


class Table(_Spec):
    """A table of a paper: every row (a coder) in every column (the splits of the training and of the test images).

    `model` names the directory of a checkpoint by {split}, which it was trained on, {num}, the row's `checkpoint`, and
    {bound}, the row's.
    `num_compress` test images are drawn by `seed`; 0 stands for all. Published figures are of `num_published` others.
    """

    title: str
    dataset: str = "EMNIST"
    model: str = "train_bin_emnist_split={split}_num={num}"
    num_compress: int = Field(default=500, ge=0)
    seed: int = Field(default=42, ge=0)
    num_published: int = Field(default=500, ge=1)
    columns: list[tuple[str, str]]
    rows: list[Row]

    @model_validator(mode="after")
    def _one_figure_a_column(self) -> Self:
        for row in self.rows:
            for figures in (row.published, row.published_message):
                if figures and len(figures) != len(self.columns):
                    raise ValueError(
                        f"{row.label} has {len(figures)} published figures for {len(self.columns)} columns"
                    )
        return self

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a YAML file; UsageError for one that is no table."""
        try:
            return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"{path}: {where and where + ': '}{first['msg'].removeprefix('Value error, ')}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Outcome:
    """What a cell measured: rates in bits a `unit` ("dim", or "frame" of sequences), times in seconds per image on the
    machine that computed it.

    `evaluated` is the ideal rate by the float network, on particles of its own; None under iterative inference, which
    only the coder does. The coder's are `ideal` (minus its bound, on the particles it drew), `net` (what the message
    grew by), `message` (net, initial bits and stack heads) and `file` (all bytes, with header and checksums).
    `standard_error` is that of the mean of `ideal` over images, None for a single one.
    """

    num_images: int
    evaluated: float | None
    ideal: float
    net: float
    message: float
    file: float
    standard_error: float | None
    initial_bits: float
    file_bytes: int
    encode_seconds: float
    decode_seconds: float
    unit: str = "dim"


@dataclass(frozen=True)
class Cell:
    """A row in a column, with its `outcome` (and then the file was decoded and compared), or why it was `skipped`."""

    table: str
    label: str
    coder: str
    options: dict[str, Any]
    ramp: str
    model: str
    dataset: str
    train: str
    test: str
    num_compress: int
    seed: int
    datadir: str
    published: float | None
    published_message: float | None
    num_published: int
    outcome: Outcome | None = None
    skipped: str | None = None

    @property
    def title(self) -> str:
        """Row and column."""
        return f"{self.label}, {self.train} to {self.test}"

    @property
    def deviation(self) -> float | None:
        """The net rate minus the published one, in standard errors of this difference: both are means over images."""
        o = self.outcome
        if o is None or o.standard_error is None or self.published is None:
            return None
        return (o.net - self.published) / (o.standard_error * math.sqrt(1 + o.num_images / self.num_published))

    def to_dict(self) -> dict[str, Any]:
        """Flat and JSON only, for tables."""
        flat = asdict(self) | {"deviation": self.deviation}
        return flat | (flat.pop("outcome") or dict.fromkeys(each.name for each in fields(Outcome)))

    @classmethod
    def from_dict(cls, flat: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; KeyError where something is missing."""
        outcome = None if flat["skipped"] else Outcome(**{each.name: flat[each.name] for each in fields(Outcome)})
        own = {each.name: flat[each.name] for each in fields(cls) if each.name != "outcome"}
        return cls(**own, outcome=outcome)


def find_tables(name: str) -> list[Path]:
    """The YAML file of a table: a path, the name of one that mcbits brings, or "all" of those; else UsageError."""
    if name.endswith((".yml", ".yaml")):
        return [Path(name)]
    tables = sorted(TABLES.glob("*.yml"))
    if name == "all":
        return tables
    names = [each.stem for each in tables]
    if name not in names:
        nearest = nearest_name(name, names)
        hint = f"did you mean {nearest}?" if nearest else f"there are {', '.join(names)} and all"
        raise UsageError(f"there is no table {name!r}: {hint}")
    return [tables[names.index(name)]]


def reproduce(
    path: Path,
    checkpoints: Path,
    datadir: Path,
    output: Path,
    *,
    num_compress: int | None = None,
    seed: int | None = None,
) -> list[Cell]:
    """Every cell of the table at `path`, from the models in `checkpoints`.

    num_compress and seed are by default the table's. Writes NAME.json and NAME.csv to `output`, and to `output`/cells
    the .mcb file and the outcome of each cell as soon as it is finished; what is found there is not computed again. A
    cell without its model, its data or its coder's options is skipped and says why. Raises UsageError for a bad table,
    FormatError where a file does not restore its images.
    """
    given = {"num_compress": num_compress, "seed": seed}
    table = Table.load(path).model_copy(update={key: value for key, value in given.items() if value is not None})
    cells = measure_cells(list(_cells(table, path.stem, checkpoints, datadir)), output / "cells")
    _write(output / path.stem, table.title, [cell.to_dict() for cell in cells])
    return cells


def read_cells(path: Path) -> list[Cell]:
    """The cells in the JSON files of a directory that `reproduce` wrote; UsageError if there are none."""
    cells = []
    for file in sorted(path.glob("*.json")):
        try:
            cells += [Cell.from_dict(each) for each in json.loads(file.read_text(encoding="utf-8"))["cells"]]
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{file} is no result of mcbits reproduce: give the directory that it wrote") from None
    return cells


def _cells(table: Table, name: str, checkpoints: Path, datadir: Path) -> Iterator[Cell]:
    for column, (train, test) in enumerate(table.columns):
        for row in table.rows:
            yield Cell(
                table=name,
                label=row.label,
                coder=row.coder,
                options=row.options,
                ramp=row.ramp,
                model=str(checkpoints / table.model.format(split=train, num=row.checkpoint, bound=row.bound)),
                dataset=table.dataset,
                train=train,
                test=test,
                num_compress=table.num_compress,
                seed=table.seed,
                datadir=str(datadir),
                published=row.published[column] if row.published else None,
                published_message=row.published_message[column] if row.published_message else None,
                num_published=table.num_published,
            )


def measure_cells(cells: list[Cell], directory: Path) -> list[Cell]:
    """The same cells, each with its outcome, from `directory` where it is there already, or why it was skipped."""
    directory.mkdir(parents=True, exist_ok=True)
    bench, hook, done = _Bench(directory), registry().hook, []
    for number, cell in enumerate(cells, 1):
        hook.mcbits_notice(message=f"{cell.table}, {number} of {len(cells)}: {cell.title}")
        done.append(bench.measured(cell))
        if reason := done[-1].skipped:
            hook.mcbits_notice(message=f"skipped {cell.title}: {reason}")
    return done


class _Bench:
    """Where cells are measured, or looked up; models and images are read once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.model = cache(load_model)
        self._images: dict[tuple[Any, ...], NDArray[np.uint8]] = {}

    def images(self, config: CompressConfig) -> NDArray[np.uint8]:
        wanted = (config.dataset, config.split, config.num_compress, config.seed, config.binarize)
        if wanted not in self._images:
            self._images[wanted] = test_images(config)
        return self._images[wanted]

    def measured(self, cell: Cell) -> Cell:
        try:
            config = config_of(cell)
            images = self.images(config)
            key = _key(config, images)
            path = self.directory / f"{cell.train}-{cell.test}-{cell.coder}-{_digest(key)}.json"
            if path.exists():
                return replace(cell, outcome=Outcome(**json.loads(path.read_text())["outcome"]))
            model = self.model(Path(cell.model))
        except (UsageError, PluginError, ModelError, DataError) as error:
            return replace(cell, skipped=str(error))
        outcome = _measure(config, model, images, path.with_suffix(".mcb"))
        with whole_or_nothing(path) as draft:
            draft.write_text(json.dumps({**key, "outcome": asdict(outcome)}, indent=2))
        return replace(cell, outcome=outcome)


def config_of(cell: Cell) -> CompressConfig:
    """What `mcbits compress` would be told; ModelError without a checkpoint, UsageError for options."""
    if not (Path(cell.model) / "train_config.yml").is_file():
        raise ModelError(f"there is no checkpoint {cell.model}")
    values = {key: getattr(cell, key) for key in ("dataset", "datadir", "num_compress", "seed", "coder", "ramp")}
    return CompressConfig.load(None, values | cell.options | {"train_config": Path(cell.model), "split": cell.test})


def _measure(config: CompressConfig, model: FrozenModel, images: NDArray[np.uint8], file: Path) -> Outcome:
    from mcbits.training.checkpoint import load_float
    from mcbits.training.evaluation import evaluate

    assert config.train_config is not None
    coder, evaluated = config.options.coder, None
    if config.options.refinement is None:
        bound = registry().bound(coder.bound).of(coder)
        floats = evaluate(load_float(config.train_config), images, bound, coder.num_particles, seed=config.seed)
        evaluated = floats["ideal"]
    cost = compress_file(images, file, model, config.options)
    return Outcome(
        num_images=len(images),
        evaluated=evaluated,
        ideal=cost.ideal,
        net=cost.net,
        message=cost.message,
        file=cost.file,
        standard_error=standard_error(cost.per_image, cost.units),
        initial_bits=cost.initial_bits,
        file_bytes=cost.file_bytes,
        encode_seconds=cost.encode_seconds / len(images),
        decode_seconds=cost.verify_seconds / len(images),
        unit=cost.unit,
    )


def _key(config: CompressConfig, images: NDArray[np.uint8]) -> dict[str, Any]:
    """All that the outcome of a cell depends on, JSON only."""
    weights = sha256()
    assert config.train_config is not None
    for file in sorted([*config.train_config.glob("*.pt"), *config.train_config.glob("*.safetensors")]):
        weights.update(file.read_bytes())
    return {
        "mcbits": own_version(),
        "coder": config.coder,
        "options": config.options.coder.get_config(),
        "precisions": config.options.precisions.get_config(),
        "refinement": refinement.get_config() if (refinement := config.options.refinement) else None,
        "ramp": config.options.ramp,
        "seed": config.seed,
        "weights": weights.hexdigest(),
        "images": sha256(repr(images.shape).encode() + images.tobytes()).hexdigest(),
    }


def _digest(key: dict[str, Any]) -> str:
    return sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def _write(path: Path, title: str, cells: list[dict[str, Any]]) -> None:
    with whole_or_nothing(path.with_suffix(".json")) as draft:
        draft.write_text(json.dumps({"title": title, "cells": cells}, indent=2))
    with whole_or_nothing(path.with_suffix(".csv")) as draft, open(draft, "w", newline="") as file:
        writer = csv.DictWriter(file, cells[0])
        writer.writeheader()
        writer.writerows(cell | {"options": json.dumps(cell["options"])} for cell in cells)
