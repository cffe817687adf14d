"""A config is typed and complete before a job starts: the command line wins over the file, the file over defaults."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass, field
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NoReturn, Self, TypeVar, get_type_hints

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from mcbits.archive.options import REFINE, CodingOptions, Iterative
from mcbits.coders.base import Coder, find_coder
from mcbits.errors import PluginError, UsageError
from mcbits.files import is_path
from mcbits.latents.options import Precisions, Refinement
from mcbits.plugins.options import declared
from mcbits.plugins.registry import nearest_name, registry

C = TypeVar("C", bound=BaseModel)


def _one_directory(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise ValueError("is not the name of one directory: leave out slashes, and give its place with logdir")
    return name


_Name = Annotated[str, AfterValidator(_one_directory)]


def _at_home(path: Any) -> Any:
    """Return the path with a leading `~` as the home directory: a shell sees none in YAML and after `--option=`."""
    return type(path)(os.path.expanduser(path)) if isinstance(path, str | Path) else path


_Folder = Annotated[Path, BeforeValidator(_at_home)]
_Dataset = Annotated[str, BeforeValidator(_at_home)]


def _is_own(dataset: str) -> bool:
    """Return whether a dataset is the path of the user's own pictures."""
    return is_path(dataset) and not registry().has("dataset", dataset)


def _division(split: str, info: ValidationInfo) -> str:
    """Return the split. That of the user's own pictures says by itself which are held out, since it is all that a
    loader is told, and all that is taken from the training's config when its model is tested.
    """
    given = info.data
    if {"seed", "dataset", "held_out"} <= given.keys() and _is_own(given["dataset"]):
        return f"{given['held_out']}@{given['seed']}"
    return split


def _name_of_data(given: dict[str, Any]) -> str:
    """Return what a default exp_name says of the data: the dataset and its split, or the name of the user's file."""
    own = _is_own(given["dataset"])
    return os.path.basename(os.path.abspath(given["dataset"])) if own else "{dataset}_{split}".format_map(given)


# A number becomes text if an option takes text, such as lanes 4.
_COERCING = ConfigDict(allow_inf_nan=False, coerce_numbers_to_str=True)


class Config(BaseModel):
    """Base of the options of a command: fixed once made, no key but its fields."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, coerce_numbers_to_str=True, protected_namespaces=()
    )

    without_effect: ClassVar[dict[str, str]] = {}
    """Keys that are read because the paper's configs have them, and why they change nothing."""

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Return the config of a YAML file (None: no file). `overrides`, the command line, wins over the file.

        Keys may be written with `-` or `_`. Values may be text.
        Raises UsageError. For an unknown key the error names the nearest key; for a wrong value it names the key, the
        value, what is expected and where the value is.
        """
        layers = _Layers.read(path, overrides)
        for key in layers.values:
            if key not in cls.model_fields:
                raise layers.unknown(key, cls.model_fields)
        return layers.build(cls)

    def to_yaml(self) -> str:
        """Return YAML text that `load` reads back as an equal config."""
        return _dump_yaml(self.model_dump(mode="json"))


class TrainConfig(Config):
    """The options of `mcbits train`."""

    without_effect = {"workers": "all data lies on the device"}

    logdir: _Folder = Field(default=Path("runs"), description="where run directories are made")
    seed: int = Field(default=42, ge=0, description="seed of weights, binarisation, batches and particles")
    gpu: int = Field(default=0, ge=-1, description="CUDA device; -1, or no such device: the CPU")
    datadir: _Folder = Field(default=Path("data"), description="where the dataset's files are, or are downloaded to")
    dataset: _Dataset = Field(
        default="EMNIST",
        description="dataset (see `mcbits plugins`), or the path of your own pictures: a folder or an array in a file",
    )
    held_out: float = Field(
        default=0.1, ge=0, lt=1, description="the share of your own pictures to test on; 0: test on those trained on"
    )
    split: Annotated[str, AfterValidator(_division)] = Field(
        default="mnist",
        validate_default=True,
        description="the dataset's split, e.g. mnist or letters of EMNIST; of your own pictures held_out@seed, always",
    )
    binarize: bool = Field(default=True, description="draw every grey pixel as 0 or 1, anew for every batch")
    workers: int = Field(default=0, ge=0, description="of the paper's configs; no effect: all data lies on the device")
    model: str = Field(default="BinaryVAE", description="model: see `mcbits plugins`")
    latent_dim: int = Field(default=50, ge=1, description="dimensions of the latent z")
    optimizer: Literal["Adam"] = Field(default="Adam", description="optimizer")
    lr: float = Field(default=1e-3, gt=0, description="learning rate")
    eps: float = Field(default=1e-4, gt=0, description="Adam's epsilon")
    scheduler: Literal["constant", "multi_step", "cosine"] = Field(
        default="constant",
        description="learning rate over time: constant, the eight steps of Burda et al. 2016, or falling as a cosine",
    )
    epochs: int = Field(default=100, ge=1, description="passes over the training images; 3280 in the paper")
    batch_size: int = Field(default=20, ge=1, description="images per step; pixels, if the model has no latents")
    bound: str = Field(default="IWAE", description="bound on log p(x) to maximise: see `mcbits plugins`")
    num_particles: int = Field(default=1, ge=1, description="particles N of the bound")
    kl_warmup: float = Field(
        default=0,
        ge=0,
        le=1,
        description="share of the training over which the weight of the KL term rises from 0 to 1",
    )
    compile: bool = Field(default=False, description="compile the step with torch.compile; on a GPU into CUDA graphs")
    exp_name: _Name = Field(
        default_factory=lambda given: f"train_{_name_of_data(given)}_" + "{bound}_{num_particles}".format_map(given),
        validate_default=True,
        description="name of the run directory; by default made of dataset, split, bound and particles",
    )
    model_options: dict[str, Any] = Field(
        default_factory=dict, exclude=True, description="options of the model that were set"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_model(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Take the options of the chosen model out of the values, and its own defaults for keys that are not set."""
        model = _find_model(given)
        own = {name: model.options.checked(name, given[name]) for name in model_options(model) if name in given}
        rest = {name: value for name, value in given.items() if name not in own}
        return {"model_options": own, **model.defaults, **rest}

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Return the config, as any config does. The options of the model are keys like the others."""
        layers = _Layers.read(path, overrides)
        model = _find_model(layers.values)
        own = model_options(model)
        known = [key for key, info in cls.model_fields.items() if not info.exclude]
        for key, value in layers.values.items():
            if key in own:
                layers.values[key] = layers.convert(own[key].type, key, value)
            elif key not in known:
                raise layers.unknown(key, [*known, *own])
        return layers.build(cls)

    def to_yaml(self) -> str:
        return _dump_yaml(self.model_dump(mode="json") | self.model_options)

    @property
    def is_of_own_pictures(self) -> bool:
        """Whether `dataset` is the path of the user's own pictures."""
        return _is_own(self.dataset)


class EvaluateConfig(Config):
    """The options of `mcbits evaluate`: a model, test images, and a coder whose bound gives the ideal rate."""

    train_config: Annotated[Path | None, BeforeValidator(_at_home)] = Field(
        default=None, description="the model: a run directory or its train_config.yml"
    )
    seed: int = Field(default=42, ge=0, description="seed of the choice of images, binarisation and initial bits")
    gpu: int = Field(default=0, ge=-1, description="CUDA device of the float network; -1, or no such device: the CPU")
    datadir: _Folder = Field(
        default=Path("data"), description="where the dataset's files are (by default as in training)"
    )
    dataset: _Dataset = Field(
        default="EMNIST", description="dataset to take test images of (by default as in training)"
    )
    split: str = Field(default="mnist", description="the dataset's split (by default as in training)")
    binarize: bool = Field(default=True, description="draw every grey pixel as 0 or 1 (by default as in training)")
    num_compress: int = Field(default=0, ge=0, description="how many test images, chosen by the seed; 0 for all")
    coder: str = Field(default="bb-is", description="coder: see `mcbits plugins`")
    given: dict[str, Any] = Field(default_factory=dict, exclude=True, description="options of the coder that were set")
    options: InstanceOf[CodingOptions] = Field(exclude=True)

    @classmethod
    def shared_options(cls) -> dict[str, Option]:
        """Return the options that all coders share and that are not fields of this class."""
        return {}

    @classmethod
    def load(cls, path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Self:
        """Return the config, as any config does. The options of the coder are keys like the others.

        One file can serve `compress`, `evaluate` and several coders. So a key that only another of them reads is
        ignored in a file. On the command line it is an error.
        `datadir`, `dataset`, `split` and `binarize` are by default those of the training.
        """
        layers = _Layers.read(path, overrides)
        ignorable = layers.values.keys() - {_key(key) for key in overrides or {}}
        if (train_config := layers.values.get("train_config")) is not None:
            train_config = layers.convert(Path, "train_config", _at_home(train_config))
            layers.inherit(train_config, ("datadir", "dataset", "split", "binarize"))
        if REFINE not in cls.shared_options() and layers.convert(bool, REFINE, layers.values.get(REFINE, False)):
            raise UsageError(f"evaluate does not refine q(z|x): leave out {REFINE}, or compress with it")

        coder: type[Coder] = find_coder(str(layers.values.get("coder", cls.model_fields["coder"].default)))
        keys = [key for key, info in cls.model_fields.items() if not info.exclude]
        own, shared = coder_options(coder), cls.shared_options()
        for key in [key for key in layers.values if key not in keys and key not in own and key not in shared]:
            layers.values.pop(key) if key in ignorable and _is_known(key) else layers.refuse(key, cls, coder)
        found = {
            key: layers.convert(option.type, key, layers.values.pop(key))
            for key, option in (shared | own).items()
            if key in layers.values
        }
        layers.values["given"] = {key: value for key, value in found.items() if key in own}
        seed = {"seed": layers.convert(int, "seed", layers.values.get("seed", cls.model_fields["seed"].default))}
        layers.values["options"] = CodingOptions.of(coder.short, **found, **seed)
        return layers.build(cls)

    def to_yaml(self) -> str:
        shared = {name: value for name, value in self.options.by_name().items() if name in self.shared_options()}
        return _dump_yaml(self.model_dump(mode="json") | shared | self.given)


class CompressConfig(EvaluateConfig):
    """The options of `mcbits compress`, with those of the chosen coder."""

    without_effect = {
        "gpu": "--backend torch:cuda computes the network on a GPU",
        "batch_compute": "all particles are always evaluated at once",
    }

    logdir: _Folder = Field(default=Path("runs"), description="where result directories are made")
    gpu: int = Field(default=0, ge=-1, description="of the paper's configs; no effect: see backend")
    batch_compute: bool = Field(
        default=True,
        description="of the paper's configs; no effect: all particles are always evaluated at once",
    )
    effort: int = Field(
        default=5,
        ge=1,
        le=9,
        description="without a model, how long one is trained: 5 is a minute, 7 five, 9 twenty",
    )
    seconds: float = Field(default=0, ge=0, description="the same in seconds; 0: as effort says")
    backend: str = Field(
        default="numpy", description="what computes the network: numpy, torch or torch:DEVICE; same bytes"
    )
    exp_name: _Name = Field(
        default_factory=lambda given: "_".join(
            [f"compress_{_name_of_data(given)}_{given['coder']}"]
            + [f"{key}={value}" for key, value in given["given"].items()]
        ),
        validate_default=True,
        description="name of the result directory; by default made of dataset, split, coder and its options",
    )

    @classmethod
    def shared_options(cls) -> dict[str, Option]:
        return _coding_options()


@dataclass(frozen=True)
class Option:
    """An option that is declared as a field of a dataclass."""

    type: Any
    default: Any
    help: str


def coder_options(coder: type[Coder]) -> dict[str, Option]:
    """Return {name: option} of a coder class. Raises PluginError if one has no type or a name that mcbits uses."""
    try:
        options = _options_of(coder)
    except Exception as error:
        raise PluginError(f"coder {coder.name} declares no proper options: {' '.join(str(error).split())}") from error
    if taken := sorted({*CompressConfig.model_fields, *_coding_options(), *_OF_THE_COMMANDS}.intersection(options)):
        raise PluginError(f"coder {coder.name} must rename its option {taken[0]}: mcbits has an option of that name")
    return options


@cache
def _coding_options() -> dict[str, Option]:
    """Return the options that all coders share, but for `seed`, which is a field of the config."""
    options: dict[str, Option] = {}
    for each in (Precisions, Iterative, Refinement, CodingOptions):
        options |= _options_of(each)
    return {name: option for name, option in options.items() if name != "seed"}


def _options_of(cls: Any) -> dict[str, Option]:
    types = get_type_hints(cls)
    return {
        name: Option(types[f.name], f.default, f.metadata.get("help", ""))
        for name, f in declared(cls).items()
        if f.default is not MISSING and not (cls is CodingOptions and "help" not in f.metadata)
    }


def _is_known(key: str) -> bool:
    """Return whether some command or coder that reads such a file has this key."""
    if key in CompressConfig.model_fields or key in _coding_options():
        return True
    return any(key in options for _, options in all_coder_options())


_OF_THE_COMMANDS = (
    "input",
    "output",
    "model",
    "no_verify",
    "force",
    "no_clobber",
    "config",
    "json",
    "quiet",
    "debug",
    "help",
)


@dataclass
class _Layers:
    """The values by key, and the source of each value, for error messages."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None, overrides: Mapping[str, Any] | None) -> _Layers:
        layers = cls()
        if path is not None:
            layers.add(_read_yaml(path), f"in {path}")
        layers.add(overrides or {}, "on the command line")
        return layers

    def add(self, layer: Mapping[str, Any], source: str) -> None:
        if twice := _twice(map(_key, layer)):
            raise UsageError(f"{twice} is given twice ({source}), once with - and once with _: leave one out")
        for key, value in layer.items():
            self.values[_key(key)] = value
            self.sources[_key(key)] = source

    def inherit(self, train_config: Path, keys: Iterable[str]) -> None:
        """Take those of `keys` that are not set yet from the config of a training."""
        path = train_config / "train_config.yml" if train_config.is_dir() else train_config
        layer = _read_yaml(path)
        self.add({key: layer[key] for key in keys if key in layer and key not in self.values}, f"in {path}")

    def refuse(self, key: str, cls: type[EvaluateConfig], coder: type[Coder]) -> NoReturn:
        """Raise UsageError for a key that neither the command nor the coder has."""
        owners = [other.short for other, options in all_coder_options() if key in options]
        if owners:
            raise UsageError(f"{coder.short} has no {key}: leave it out, or choose {' or '.join(owners)}")
        if _is_known(key):
            raise UsageError(f"{key} is for compress alone ({self.sources[key]}): leave it out")
        known = [name for name, info in cls.model_fields.items() if not info.exclude]
        raise self.unknown(key, [*known, *cls.shared_options(), *coder_options(coder)], f" of {coder.short}")

    def unknown(self, key: str, known: Iterable[str], owner: str = "") -> UsageError:
        nearest = nearest_name(key, list(known))
        hint = f"did you mean {nearest}?" if nearest else f"there are {', '.join(known)}"
        return UsageError(f"there is no option {key!r}{owner} ({self.sources[key]}): {hint}")

    def convert(self, kind: Any, key: str, value: Any) -> Any:
        try:
            adapter = TypeAdapter(kind, config=None if kind is Path else _COERCING)
            return adapter.validate_python(value)
        except ValidationError as error:
            raise self._wrong(key, error) from None

    def build(self, cls: type[C]) -> C:
        try:
            return cls(**self.values)
        except ValidationError as error:
            raise self._wrong(str(error.errors()[0]["loc"][0]), error) from None

    def _wrong(self, key: str, error: ValidationError) -> UsageError:
        first = error.errors()[0]
        expected = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        return UsageError(f"{key}: {first['input']!r} {expected} ({self.sources.get(key, 'by default')})")


def _key(key: str) -> str:
    return str(key).replace("-", "_")


def all_model_options() -> Iterator[tuple[str, dict[str, Option]]]:
    """Yield the name of every model that can be imported, with its options."""
    for model in registry().classes("model"):
        with suppress(PluginError):
            yield model.name, model_options(model)


def model_options(model: Any) -> dict[str, Option]:
    """Return {name: option} of a model class. Raises PluginError if one has a name that mcbits uses."""
    options = _options_of(model.options)
    if taken := sorted({*TrainConfig.model_fields, *_OF_THE_COMMANDS}.intersection(options)):
        raise PluginError(f"model {model.name} must rename its option {taken[0]}: mcbits has an option of that name")
    return options


def _find_model(values: Mapping[str, Any]) -> Any:
    """Return the class of the model that the values of a training name."""
    return registry().find("model", str(values.get("model", TrainConfig.model_fields["model"].default)))


def all_coder_options() -> Iterator[tuple[type[Coder], dict[str, Option]]]:
    """Yield every coder class with its options. A coder with bad options is left out; choosing it raises the error."""
    for coder in registry().classes("coder"):
        with suppress(PluginError):
            yield coder, coder_options(coder)


def _dump_yaml(content: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # it is not typed
    """A loader to which a key that is given twice is an error; PyYAML takes the last one in silence."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        if twice := _twice(key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"):
            raise yaml.constructor.ConstructorError(None, None, f"{twice} is given twice: leave one out")
        return super().construct_mapping(node, deep)


def _twice(keys: Iterable[Any]) -> str:
    """Return a key that is there twice, else no text."""
    return next((key for key, times in Counter(map(str, keys)).items() if times > 1), "")


def load_yaml(text: str) -> Any:
    """Return what YAML text holds. Raises YAMLError, also for a key that is given twice, and ValueError."""
    return yaml.load(text, _Loader)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"config file {path} does not exist") from None
    except RecursionError:
        raise UsageError(f"config file {path} nests too deep: it holds `key: value` lines") from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # PyYAML does not catch the ValueError of a bad date
        raise UsageError(f"config file {path} cannot be read: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"config file {path} holds no `key: value` lines")
    for key, value in content.items():
        if isinstance(value, str) and not _is_text(value):
            raise UsageError(f"config file {path}: {key} holds {value!r}, which cannot be a path or a name")
    return content


def _is_text(value: str) -> bool:
    # A file system takes all bytes but zero. Python decodes those that are not UTF-8 as some of the lone surrogates;
    # the other surrogates cannot be encoded.
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False
