"""The files of the console that are the same for everybody: style, scripts and sign."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from mandamus.web.door import Pages

FOLDER = Path(__file__).parent / "static"
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

pages = Pages()


@pages.public("GET", "/static/console.css")
@pages.public("GET", "/static/console.js")
@pages.public("GET", "/static/htmx.js")
@pages.public("GET", "/static/icon.svg")
def get_file(request: Request, _form: Mapping[str, str]) -> Response:
    """One file; its address changes with it, so that it may be kept."""
    name = request.url.path.rpartition("/")[2]
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_bytes(name), media_type=TYPES[Path(name).suffix], headers=headers)


def version_of(name: str) -> str:
    """What the address of a file says of its content."""
    return hashlib.sha256(_bytes(name)).hexdigest()[:12]


@functools.cache
def _bytes(name: str) -> bytes:
    return (FOLDER / name).read_bytes()
