"""`mcbits plugins` lists the names that options accept, the plugin of each, and the plugins that failed."""

from dataclasses import asdict

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import show
from mcbits.plugins.registry import KINDS, PluginInfo, registry


@with_flags
def plugins(flags: Flags) -> None:
    """List coders, bounds, models, observation models and datasets, by plugin."""
    infos = registry().describe()
    show({"plugins": [asdict(info) for info in infos]}, "\n\n".join(map(_text, infos)), flags.json)


def _text(info: PluginInfo) -> str:
    lines = [f"{info.name} {info.version}"]
    lines += [f"  {kind + ':':14}{', '.join(info.provides[kind])}" for kind in KINDS if kind in info.provides]
    lines += [f"  problem: {problem}" for problem in info.problems]
    return "\n".join(lines)
