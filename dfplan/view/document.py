"""The HTML document of the web app. It loads nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent / "page"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(\w+)\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async |function|const|let|class)", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """An HTML document and its Content-Security-Policy.

    Attributes:
        html: the whole document.
        policy: Content-Security-Policy that allows its style and script, by their hashes, and
            requests to its own server.
    """

    html: str
    policy: str


def document(recorded: dict[str, Any] | None = None) -> Document:
    """Put HTML, style, script and data into one document.

    It shows recorded plans without a server (see :mod:`dfplan.view.export`), or else asks its
    server for plans.
    """
    style, script = (_FOLDER / "page.css").read_text(encoding="utf-8"), bundle()
    # "<" could start "</script>"; JSON allows another spelling.
    data = json.dumps(recorded, separators=(",", ":")).replace("<", "\\u003c")
    html = (_FOLDER / "page.html").read_text(encoding="utf-8")
    parts = {"/* page.css */": style, "/* modules */": script, "/* data */": data}
    for placeholder, text in parts.items():
        html = html.replace(placeholder, text)
    policy = (
        f"default-src 'none'; style-src {_csp_hash(style)}; script-src {_csp_hash(script)}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    return Document(html, policy)


def bundle() -> str:
    """Join the ES modules of the web app into one.

    A module inside an HTML document can import from no file, so the modules are joined in the order
    of their imports, without their import statements. Therefore all their top-level names must
    differ, imports must have the form ``import { names } from "./file.js";``, and no module may
    import itself through others.
    """
    sources = {path.stem: path.read_text(encoding="utf-8") for path in _FOLDER.glob("*.js")}
    imports = {name: sorted(_IMPORT.findall(sources[name])) for name in sorted(sources)}
    order = TopologicalSorter(imports).static_order()
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", sources[name])) for name in order)


def _csp_hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
