"""What a file of version 2 says of itself is read from its index; checksums are checked, and nothing is decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mcbits.archive.collection import Collection, open_pictures
from mcbits.archive.picture_blocks import plain_size
from mcbits.archive.ready_made import ready_made
from mcbits.images.wrappers import FILE


def info_of_pictures(source: str | Path) -> dict[str, Any]:
    """Return what a file of version 2 says about itself, all checksums checked. Raises FormatError for damage.

    Sizes are in bytes, "raw_bytes" being that of the samples of all entries.
    """
    with open_pictures(source) as pictures:
        pictures.verify(decode=False)
        contents = pictures.contents
        forms = list(map(contents.form, range(len(contents.names))))
        kinds: dict[str, int] = {}
        for form in forms:
            if form.way != FILE:
                label = _kind(pictures, form.kind)
                kinds[label] = kinds.get(label, 0) + form.count
        return {
            "version": 2,
            "entries": len(forms),
            "num_images": len(pictures),
            "kinds": kinds,
            "stored": sum(form.way == FILE for form in forms),
            "repeated": sum(source > 0 for source in contents.sources),
            "blocks": len(contents.blocks),
            "models": [_model(row.id, row.length) for row in contents.models],
            "raw_bytes": sum(plain_size(contents.kinds[form.kind]) * form.count for form in forms),
            "file_bytes": os.path.getsize(source),
        }


def listing(pictures: Collection) -> list[dict[str, Any]]:
    """Return of each entry its name, what it is, its pictures and the bytes that it takes of the file."""
    found = []
    for entry, name in enumerate(pictures.contents.names):
        form = pictures.contents.form(entry)
        found.append(
            {
                "name": os.fsdecode(name),
                "kind": _kind(pictures, form.kind) if form.way != FILE else "file",
                "num_images": form.count if form.way != FILE else 0,
                "raw_bytes": plain_size(pictures.contents.kinds[form.kind]) * form.count,
                "bytes": round(pictures.bits(entry) / 8),
            }
        )
    return found


def _kind(pictures: Collection, number: int) -> str:
    kind = pictures.contents.kinds[number]
    return " x ".join(map(str, kind.shape)) + f" {kind.type}"


def _model(model_id: bytes, length: int) -> dict[str, Any]:
    name = next((each.name for each in ready_made() if each.model_id.startswith(model_id.hex())), None)
    return {"model_id": model_id.hex(), "embedded_model_bytes": length, "ready_made": None if length else name}
