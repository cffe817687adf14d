"""`mcbits info` reads headers, checks all checksums and decodes nothing."""

from math import prod
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any

import typer

from mcbits.archive.format import MAGIC
from mcbits.cli.flags import Flags, with_flags
from mcbits.cli.output import printable, show_each
from mcbits.cli.streams import as_file

Paths = Annotated[
    list[Path], typer.Argument(metavar="FILE.mcb ...", help="Compressed files; models and run directories, too.")
]


@with_flags
def info(files: Paths, *, flags: Flags) -> None:
    """Show what .mcb files hold and what they need, or what a model codes."""
    show_each(files, _document, _text, flags.json)


def _document(path: Path) -> dict[str, Any]:
    from mcbits.archive.format import PICTURES, info, open_file, version_of
    from mcbits.archive.models import describe

    if _is_model(path):
        return describe(path)
    with as_file(path) as source:
        with open_file(source) as file:
            version = version_of(file)
        if version == PICTURES:
            from mcbits.archive.summary import info_of_pictures

            return info_of_pictures(source)
        return info(source)


def _is_model(path: Path) -> bool:
    if path.is_file():
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) != MAGIC and path.suffix in (".safetensors", ".yml", ".pt")
    return path.is_dir()


def _text(path: Path, document: dict[str, Any]) -> str:
    if "kinds" in document:
        lines = _picture_lines(document)
    else:
        lines = _model_lines(document) if "model_bytes" in document else _file_lines(document)
    width = max(map(len, lines)) + 4
    shown = [printable(str(path))]
    for key, text in lines.items():
        line = f"  {key}".ljust(width) + printable(text)
        shown.append(fill(line, 79, subsequent_indent=" " * width, break_long_words=False, break_on_hyphens=False))
    return "\n".join(shown)


def _model_lines(document: dict[str, Any]) -> dict[str, str]:
    size, latents = _size(document["shape"]), document["latent_dim"]
    return {
        "model": f"{document['class']}, pixels {document['observation']}" + _listed(document["options"], ", "),
        "codes": f"{size}, symbols 0 to {document['num_symbols'] - 1}",
        "latents": str(latents) if latents else "none",
        "size": f"{document['model_bytes']:,} bytes",
        "id": document["model_id"],
    }


def _picture_lines(document: dict[str, Any]) -> dict[str, str]:
    raw, size = document["raw_bytes"], document["file_bytes"]
    kinds = sorted(document["kinds"].items(), key=lambda item: -item[1])
    shown = [f"{count:,} of {kind}" for kind, count in kinds[:4]] + (["..."] if len(kinds) > 4 else [])
    lines = {
        "holds": f"{document['entries']:,} files, {document['num_images']:,} pictures",
        "pictures": ", ".join(shown) or "none",
        "size": f"{size:,} bytes" + (f", {size / raw:.1%} of {raw:,} bytes of samples" if raw else ""),
        "blocks": f"{document['blocks']:,}",
    }
    if document["stored"]:
        lines["other files"] = f"{document['stored']:,}, kept as they are"
    for number, model in enumerate(document["models"], 1):
        inside = f"in the file, {model['embedded_model_bytes']:,} bytes"
        outside = f"ready-made: {model['ready_made']}" if model["ready_made"] else "not in the file: keep it"
        lines[f"model {number}"] = f"{model['model_id']}, {inside if model['embedded_model_bytes'] else outside}"
    return lines


def _file_lines(document: dict[str, Any]) -> dict[str, str]:
    raw, size, embedded = document["raw_bytes"], document["file_bytes"], document["embedded_model_bytes"]
    found = f"in the file, {embedded:,} bytes" if embedded else "not in the file: keep it, and give it to decompress"
    lines = {
        "images": f"{document['num_images']:,} of {_size(document['shape'])}, {document['dtype']}",
        "size": f"{size:,} bytes" + (f", {size / raw:.1%} of {raw:,}" if raw else ""),
        "rate": f"{document['file']:.4f} bits/{document['unit']}",
        "model": found,
        "model id": document["model_id"],
        "coder": document["coder"] + _listed(document["options"], ": "),
        "blocks": f"{document['blocks']} of up to {document['block_size']:,} images; lanes {document['lanes']}",
        "precisions": _listed(document["precisions"], ""),
        "sha256": document["sha256"],
    }
    if document["ramp"]:
        lines["ramp"] = f"{document['ramp']:g} particles more with each image"
    if document["refinement"]:
        lines["refinement"] = _listed(document["refinement"], "")
    if "num_frames" in document:
        lines["images"] += f", {document['num_frames']:,} frames"
    return lines


def _size(shape: list[int]) -> str:
    if prod(shape[:2]) == 0 and len(shape) > 1:
        return "any size" + (f", {shape[2]} channels" if len(shape) > 2 else "")
    return " x ".join(map(str, shape))


def _listed(options: dict[str, Any], before: str) -> str:
    return before + ", ".join(f"{name} {value}" for name, value in options.items()) if options else ""
