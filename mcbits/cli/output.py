"""A result goes to stdout once, as text for people or as one JSON document."""

import json
from typing import Any


def as_json(document: dict[str, Any]) -> str:
    """JSON text; numpy values become numbers and lists, paths become text."""
    return json.dumps(document, default=_plain, indent=2)


def show(document: dict[str, Any], text: str, json: bool) -> None:
    """Print `text`, or the document as JSON."""
    print(as_json(document) if json else text)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
