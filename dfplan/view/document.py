"""The page as one document, in which nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Document:
    """A page and what it may do.

    Attributes:
        html: the whole document.
        policy: its Content-Security-Policy: its own style and script, by their hashes, and
            requests to where it came from.
    """

    html: str
    policy: str


def document(recorded: dict[str, Any] | None = None) -> Document:
    """Put page, style and script together.

    Args:
        recorded: what the page shows without a server (see :mod:`dfplan.view.export`); None for
            the page of a server.
    """
    page, style, script = (
        (_FOLDER / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "page.js")
    )
    # A "<" may begin "</script>"; within JSON it can be written otherwise.
    data = json.dumps(recorded, separators=(",", ":")).replace("<", "\\u003c")
    html = (
        page.replace("/* page.css */", style)
        .replace("/* page.js */", script)
        .replace("/* recorded */", data)
    )
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hashed(style)}",
            f"script-src {_hashed(script)}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    return Document(html, policy)


def _hashed(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
