"""A table is computed cell by cell, and no cell twice: a finished cell is a file named after all its inputs."""

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
from mcbits.bounds.base import find_bound
from mcbits.config import CompressConfig, load_yaml
from mcbits.datasets.selection import test_images
from mcbits.errors import DataError, ModelError, PluginError, UsageError
from mcbits.files import whole_or_nothing
from mcbits.latents.frozen import FrozenModel
from mcbits.plugins.registry import nearest_name, own_version, registry
from mcbits.training.evaluation import standard_error

TABLES = Path(__file__).parent / "tables"
PUBLISHED = "https://github.com/ryoungj/mcbits (experiments/img_emnist/checkpoints)"


class _Spec(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Spec):
    """A row of a table: one coder, with options, checkpoint and ramp.

    published, published_message: the published net and message rates in bits/dim, one for each column, or empty.
    """

    label: str
    coder: str
    checkpoint: int
    bound: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    ramp: str = "off"
    published: list[float] = Field(default_factory=list)
    published_message: list[float] = Field(default_factory=list)


class Table(_Spec):
    """A table of a paper: each row (a coder) in each column (the splits of the training and of the test images).

    `model` is the name of a checkpoint's directory. It may contain {split}, the split it was trained on, {num}, the
    row's `checkpoint`, and {bound}, the row's `bound`.
    `seed` chooses `num_compress` test images; 0 means all. Published figures are of `num_published` other images.
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
        """Return the table of a YAML file. Raises UsageError if the file cannot be read or is not a table."""
        try:
            return cls.model_validate(load_yaml(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(f"{path}: {where and where + ': '}{first['msg'].removeprefix('Value error, ')}") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class Outcome:
    """The measurements of a cell: rates in bits per `unit` ("dim", or "frame" for sequences), seconds per image.

    `evaluated`: the ideal rate by the float network, with its own particles; None under iterative inference, which only
    the coder does.
    `ideal`: the negative of the coder's bound, for the particles that it drew.
    `net`: the growth of the message. `message`: net, initial bits and stack heads.
    `file`: all bytes, with header and checksums.
    `standard_error`: that of the mean of `ideal` over images; None for one image.
    Times depend on the machine that computed the cell.
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
    """A row in a column: its inputs, and its `outcome` or the reason why it was `skipped`.

    If there is an outcome, the file was decoded and compared.
    """

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
        """The names of row and column."""
        return f"{self.label}, {self.train} to {self.test}"

    @property
    def deviation(self) -> float | None:
        """The net rate minus the published rate, in standard errors of this difference; both are means over images.

        None if one of them or the standard error is not known.
        """
        o = self.outcome
        if o is None or o.standard_error is None or self.published is None:
            return None
        return (o.net - self.published) / (o.standard_error * math.sqrt(1 + o.num_images / self.num_published))

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as one flat dict, JSON only, for tables."""
        flat = asdict(self) | {"deviation": self.deviation}
        return flat | (flat.pop("outcome") or dict.fromkeys(each.name for each in fields(Outcome)))

    @classmethod
    def from_dict(cls, flat: dict[str, Any]) -> Self:
        """Return the cell of a flat dict: the inverse of `to_dict`. Raises KeyError if a key is missing."""
        outcome = None if flat["skipped"] else Outcome(**{each.name: flat[each.name] for each in fields(Outcome)})
        own = {each.name: flat[each.name] for each in fields(cls) if each.name != "outcome"}
        return cls(**own, outcome=outcome)


def find_tables(name: str) -> list[Path]:
    """Return the YAML files for `name`: a path that ends in .yml or .yaml, the name of a built-in table, or "all".

    Raises UsageError for an unknown name.
    """
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


def check_checkpoints(paths: list[Path], checkpoints: Path) -> None:
    """Check that `checkpoints` has at least one of the models that tables need. Raises ModelError otherwise."""
    models = [Path(cell.model) for path in paths for cell in _cells(Table.load(path), path.stem, checkpoints, Path())]
    if not any((model / "train_config.yml").is_file() for model in models):
        raise ModelError(
            f"{checkpoints} holds no checkpoint that a table needs{f', such as {models[0].name}' if models else ''}: "
            f"get the folder of the paper's at {PUBLISHED}, and name it with --checkpoints"
        )


def reproduce(
    path: Path,
    checkpoints: Path,
    datadir: Path,
    output: Path,
    *,
    num_compress: int | None = None,
    seed: int | None = None,
) -> list[Cell]:
    """Measure every cell of the table at `path` with the models in `checkpoints`, and return the cells.

    num_compress and seed are by default those of the table. NAME.json and NAME.csv are written to `output`. The .mcb
    file and the outcome of each cell are written to `output`/cells when the cell is finished; a cell that is there
    already is not computed again. A cell whose model, data or coder is missing is skipped and says why.
    Raises UsageError for a bad table, FormatError if a file does not restore its images, DataError if a file cannot be
    written.
    """
    given = {"num_compress": num_compress, "seed": seed}
    table = Table.load(path).model_copy(update={key: value for key, value in given.items() if value is not None})
    cells = measure_cells(list(_cells(table, path.stem, checkpoints, datadir)), output / "cells")
    _write(output / path.stem, table.title, [cell.to_dict() for cell in cells])
    return cells


def read_cells(path: Path) -> list[Cell]:
    """Return the cells in the JSON files of a directory that `reproduce` wrote; an empty list if it has no JSON files.

    Raises UsageError for a JSON file of another kind.
    """
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
    """Return the same cells, each with its outcome or the reason why it was skipped.

    Finished outcomes are read from `directory`; new ones are written there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    bench, hook, done = _Bench(directory), registry().hook, []
    for number, cell in enumerate(cells, 1):
        hook.mcbits_notice(message=f"{cell.table}, {number} of {len(cells)}: {cell.title}")
        done.append(bench.measured(cell))
        if reason := done[-1].skipped:
            hook.mcbits_notice(message=f"skipped {cell.title}: {reason}")
    return done


class _Bench:
    """A bench that measures cells or reads their outcomes. It reads models and images only once."""

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
            if path.exists() and (found := _read_outcome(path)):
                return replace(cell, outcome=found)
            model = self.model(Path(cell.model))
        except (UsageError, PluginError, ModelError, DataError) as error:
            return replace(cell, skipped=str(error))
        outcome = _measure(config, model, images, path.with_suffix(".mcb"))
        with whole_or_nothing(path) as draft:
            draft.write_text(json.dumps({**key, "outcome": asdict(outcome)}, indent=2))
        return replace(cell, outcome=outcome)


def _read_outcome(path: Path) -> Outcome | None:
    """Return the outcome of a finished cell; None, and a notice, if its file is damaged."""
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8"))["outcome"])
    except (ValueError, KeyError, TypeError):
        registry().hook.mcbits_notice(message=f"{path} is damaged or cut off: its cell is measured again")
        return None


def config_of(cell: Cell) -> CompressConfig:
    """Return the config of `mcbits compress` for a cell.

    Raises ModelError if there is no checkpoint, UsageError for wrong options.
    """
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
        bound = find_bound(coder.bound).of(coder)
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
    """Return everything that the outcome of a cell depends on, JSON only."""
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
