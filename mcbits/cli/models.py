"""`mcbits models` lists the ready-made models, which code pictures without a training."""

from typing import Any

from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import show


@with_flags
def models(flags: Flags) -> None:
    """List the ready-made models of mcbits and of plugins."""
    from mcbits.archive.ready_made import ready_made

    rows: list[dict[str, Any]] = []
    for each in ready_made():
        model = each.load()
        rows.append(
            {
                "name": each.name,
                "plugin": each.plugin,
                "model_id": each.model_id,
                "model_bytes": len(model.data),
                "channels": model.shape[2] if len(model.shape) > 2 else 1,
                "num_symbols": model.num_symbols,
            }
        )
    lines = [
        f"{row['name']:10} {row['channels']} channels, symbols 0 to {row['num_symbols'] - 1:<5} "
        f"{row['model_bytes']:>7,} bytes  {row['model_id'][:16]}  {row['plugin']}"
        for row in rows
    ]
    show({"models": rows}, "\n".join(lines), flags.json)
