"""A name stands for one class of one plugin or is an error; a plugin that fails costs nothing but itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, distributions, entry_points, version
from pathlib import Path
from typing import Any, Literal, final

import pluggy

from mcbits.errors import PluginError, UnknownNameError, lacking
from mcbits.plugins import builtins, hooks
from mcbits.plugins.hooks import Lazy

Kind = Literal["coder", "bound", "model", "frozen model", "observation", "dataset"]

# The hook of each kind, and what a class of that kind cannot do without.
KINDS: dict[Kind, tuple[str, tuple[str, ...]]] = {
    "coder": ("mcbits_coders", ("short", "bound", "encode", "decode", "__dataclass_fields__")),
    "bound": ("mcbits_bounds", ("coupled",)),
    "model": ("mcbits_models", ()),
    "frozen model": ("mcbits_frozen_models", ("latent_model",)),
    "observation": (
        "mcbits_observation_models",
        ("num_symbols", "precision", "get_config", "log_prob", "distribution"),
    ),
    "dataset": ("mcbits_datasets", ("load",)),
}


@dataclass
class PluginInfo:
    """What a plugin provides and what is wrong with it.

    `provides` maps a kind, one of `KINDS`, to labels such as "ISBitsBackCoder (bb-is)"; `problems` are lines of text,
    empty for a healthy plugin.
    """

    name: str
    version: str
    provides: dict[Kind, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Entry:
    kind: Kind
    plugin: str
    names: tuple[str, ...]
    target: type | Lazy

    @property
    def label(self) -> str:
        canonical, *others = self.names
        return f"{canonical} ({', '.join(others)})" if others else canonical

    def resolve(self) -> type[Any]:
        found = self._import(self.target) if isinstance(self.target, Lazy) else self.target
        missing = [attribute for attribute in KINDS[self.kind][1] if not hasattr(found, attribute)]
        if missing:
            raise PluginError(f"{self.kind} {self.label} of plugin {self.plugin} lacks {', '.join(missing)}")
        return found

    def _import(self, lazy: Lazy) -> Any:
        try:
            return lazy.load()
        except (Exception, SystemExit) as error:
            _let_termination_pass(error)
            if isinstance(error, ModuleNotFoundError) and error.name == "torch":
                raise PluginError(f"{self.label} needs {lacking('torch')}") from error
            raise PluginError(f"{self.label} of plugin {self.plugin} fails: {_one_line(error)}") from error


@final
class Registry:
    """All plugins of this environment: the built-ins, and every entry point of the group "mcbits".

    `hook` calls the listeners: `registry().hook.mcbits_notice(message="...")`; the hooks are in hooks.py.
    """

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager("mcbits")
        self._manager.add_hookspecs(hooks)
        self._versions: dict[str, str] = {}
        self._failures: dict[str, str] = {}
        self._add("mcbits", own_version(), lambda: builtins)
        for entry_point in self._entry_points():
            package, name = entry_point.dist, entry_point.name
            # A distribution whose metadata are damaged or lost says neither, whatever their types promise.
            owner = getattr(package, "name", None) or "a package without a name"
            full_name = name if name == owner else f"{owner}:{name}"
            self._add(full_name, getattr(package, "version", None) or "", entry_point.load)

    @property
    def hook(self) -> Any:
        return self._manager.hook

    @contextmanager
    def listening(self, listener: object) -> Iterator[None]:
        """Register an object whose methods are hooks, listeners as a rule, for the time of a `with` block."""
        self._manager.register(listener)
        try:
            yield
        finally:
            self._manager.unregister(listener)

    def find(self, kind: Kind, name: str) -> Any:
        """Return the class of a kind by name, in any case; `find_coder` and its like give it a type.

        Raises UnknownNameError, which lists what there is and the nearest name; PluginError when two plugins
        claim the name or the class cannot be imported.
        """
        claims = self._claims(kind)
        claimants = claims.get(name.lower(), [])
        if not claimants:
            raise UnknownNameError(self._unknown(kind, name))
        if len(claimants) > 1:
            plugins = " and ".join(entry.plugin for entry in claimants)
            raise PluginError(f"{kind} {name!r} is claimed by two plugins, {plugins}: uninstall one of them")
        return claimants[0].resolve()

    def has(self, kind: Kind, name: str) -> bool:
        """Whether some plugin claims that name of a kind, in any case; imports nothing."""
        return name.lower() in self._claims(kind)

    def labels(self, kind: Kind) -> list[str]:
        """Everything of a kind as "Name (short form, alias)"; imports nothing."""
        return [entry.label for entry in self._entries(kind)]

    def classes(self, kind: Kind) -> list[Any]:
        """Every class of a kind that can be imported; what cannot is among the `problems` of `describe`."""
        found = []
        for entry in self._entries(kind):
            try:
                found.append(entry.resolve())
            except PluginError as error:
                self._failures[entry.plugin] = str(error)
        return found

    def ready_made(self) -> list[tuple[str, Path]]:
        """Return the plugin and the file of every ready-made model, those of mcbits first."""
        found = []
        for implementation in reversed(self.hook.mcbits_ready_made_models.get_hookimpls()):
            name = implementation.plugin_name
            try:
                found += [(name, Path(path)) for path in implementation.function()]
            except (Exception, SystemExit) as error:
                self._fail(name, error)
        return found

    def describe(self) -> list[PluginInfo]:
        """Every plugin, built-ins first; import errors and names claimed twice are among its `problems`."""
        infos = {name: PluginInfo(name, version) for name, version in self._versions.items()}
        for kind in KINDS:
            if kind != "model":  # their modules import torch, which takes seconds
                self.classes(kind)
            for entry in self._entries(kind):
                info = infos.setdefault(entry.plugin, PluginInfo(entry.plugin, ""))  # registered by `listening`
                info.provides.setdefault(kind, []).append(entry.label)
            for name, claimants in self._claims(kind).items():
                for entry in claimants:
                    for other in claimants:
                        if other is not entry:
                            infos[entry.plugin].problems.append(
                                f"{kind} {name!r} is also claimed by plugin {other.plugin}"
                            )
        for name, failure in self._failures.items():
            infos[name].problems.append(failure)
        return list(infos.values())

    def _entry_points(self) -> list[EntryPoint]:
        """Return the entry points of all packages but those whose entry points cannot be read, which are failures."""
        try:
            return list(entry_points(group="mcbits"))
        except Exception:  # one damaged package costs all the others: ask each of them
            found: dict[str, list[EntryPoint]] = {}
        for package in distributions():
            name = getattr(package, "name", None) or "a package without a name"
            if name in found:  # an installed package hides one of the same name later on the path
                continue
            try:
                found[name] = list(package.entry_points.select(group="mcbits"))
            except Exception as error:
                self._versions[name] = getattr(package, "version", None) or ""
                self._fail(name, error)
        return [entry_point for each in found.values() for entry_point in each]

    def _add(self, name: str, version: str, load: Callable[[], object]) -> None:
        self._versions[name] = version
        try:
            self._manager.register(load(), name)
            self._manager.check_pending()
        except (Exception, SystemExit) as error:
            self._fail(name, error)

    def _fail(self, name: str, error: BaseException) -> None:
        _let_termination_pass(error)
        self._failures[name] = _one_line(error)
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)

    def _entries(self, kind: Kind) -> list[_Entry]:
        entries = []
        # One by one instead of through pluggy's call, which would let one failing plugin hide all others.
        # pluggy lists the last registered first.
        for implementation in reversed(getattr(self.hook, KINDS[kind][0]).get_hookimpls()):
            name = implementation.plugin_name
            try:
                entries += [_Entry(kind, name, _names(target), target) for target in implementation.function()]
            except (Exception, SystemExit) as error:
                self._fail(name, error)
        return entries

    def _claims(self, kind: Kind) -> dict[str, list[_Entry]]:
        claims: dict[str, list[_Entry]] = {}
        for entry in self._entries(kind):
            for name in dict.fromkeys(name.lower() for name in entry.names):
                claims.setdefault(name, []).append(entry)
        return claims

    def _unknown(self, kind: Kind, name: str) -> str:
        nearest = nearest_name(name, [n for entry in self._entries(kind) for n in entry.names])
        hint = f", did you mean {nearest}?" if nearest else ";"
        failed = f" (plugins that failed: {', '.join(self._failures)})" if self._failures else ""
        return f"there is no {kind} {name!r}{hint} there are {', '.join(self.labels(kind))}{failed}"


def nearest_name(name: str, names: list[str]) -> str | None:
    """The one of `names` that `name` most likely stands for, whatever its case; None when nothing is near."""
    folded = {n.lower(): n for n in names}
    matches = get_close_matches(name.lower(), folded, n=1)
    return folded[matches[0]] if matches else None


def _names(target: type | Lazy) -> tuple[str, ...]:
    if isinstance(target, Lazy):
        names, what = target.names, target.path
    else:
        short, aliases = getattr(target, "short", None), getattr(target, "aliases", ())
        if isinstance(aliases, str):
            raise TypeError(f"aliases of {target!r} is a text, expected a tuple of texts")
        name = target.name  # type: ignore[attr-defined]
        names, what = (name, *([short] if short else []), *aliases), repr(target)
    if not names or not all(isinstance(each, str) and each for each in names):
        raise TypeError(f"{what} has the names {names!r}, expected texts")
    return names


def _let_termination_pass(error: BaseException) -> None:
    """Raise a SystemExit that the command line made of a signal: its class is one of its own. `sys.exit` has none."""
    if isinstance(error, SystemExit) and type(error) is not SystemExit:
        raise error


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def own_version() -> str:
    """The version of the installed mcbits; "" where it runs without having been installed."""
    try:
        return version("mcbits")
    except PackageNotFoundError:
        return ""


@cache
def registry() -> Registry:
    """The registry of this process, filled when first asked for."""
    return Registry()
