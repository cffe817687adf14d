"""`mcbits plugins` lists what can be named in an option, where it comes from, and what failed."""

from dataclasses import asdict

from mcbits.cli.flags import Debug, Json
from mcbits.cli.output import show
from mcbits.plugins.registry import KINDS, PluginInfo, registry


def plugins(json: Json = False, debug: Debug = False) -> None:
    """List coders, bounds, models, observation models and datasets, by plugin."""
    infos = registry().describe()
    show({"plugins": [asdict(info) for info in infos]}, "\n\n".join(map(_text, infos)), json)


def _text(info: PluginInfo) -> str:
    lines = [f"{info.name} {info.version}"]
    lines += [f"  {kind + ':':14}{', '.join(info.provides[kind])}" for kind in KINDS if kind in info.provides]
    lines += [f"  problem: {problem}" for problem in info.problems]
    return "\n".join(lines)
