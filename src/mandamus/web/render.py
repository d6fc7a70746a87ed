"""Makes pages of templates: everything a person wrote is escaped, and made visible where it would hide."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from mandamus.kernel.clock import Clock, rfc3339
from mandamus.kernel.ids import Entropy
from mandamus.web.commands import curl
from mandamus.web.door import path_of
from mandamus.web.files import version_of

FOLDER = Path(__file__).parent / "templates"
VALUE_CHARS_MAX = 2_000

CSP = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types default"
)

SCREENS = (
    ("/", "Home", "h"),
    ("/runs", "Runs", "r"),
    ("/approvals", "Approvals", "a"),
    ("/catalog", "Catalog", "c"),
    ("/workflows", "Workflows", "w"),
    ("/policies", "Policies", "p"),
    ("/environments", "Environments", "e"),
    ("/audit", "Audit", "l"),
    ("/settings", "Settings", "s"),
)
"""The screens: where each is, its name, and the key that goes there after ``g``."""
CHOICES = {"theme": ("light", "dark"), "keys": ("off",)}
"""What a visitor may choose other than it usually is; their browser keeps it in a cookie each."""

_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SPANS = ((60, "minute"), (3_600, "hour"), (86_400, "day"))


class Renderer:
    """The templates of the console, and what every one of them may use."""

    def __init__(self, clock: Clock, entropy: Entropy) -> None:
        self._clock = clock
        self._entropy = entropy
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(moment=self._moment, document=document, short=short)
        self._templates.globals.update(path=path_of, version_of=version_of, screens=SCREENS, curl=curl)

    def page(self, request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
        """A whole page, with a nonce of its own."""
        nonce = base64.b64encode(self._entropy(16)).decode()
        origin = f"{request.url.scheme}://{request.url.netloc}"
        frame = {"here": request.url.path, "back": _back(request), "origin": origin, "bell": None}
        frame |= {name: chosen(request, name) for name in CHOICES}
        text = self._templates.get_template(template).render(nonce=nonce, **{**frame, **values})
        # Not "no-referrer": with it a browser sends `Origin: null` with the page's own forms.
        headers = {"Content-Security-Policy": CSP.format(nonce=nonce), "Referrer-Policy": "same-origin"}
        return HTMLResponse(text, status, headers)

    def key(self) -> str:
        """A new key, by which a form that is sent twice is known."""
        return self._entropy(16).hex()

    def part(self, template: str, **values: Any) -> str:
        """A part of a page, to be put in its place."""
        return self._templates.get_template(template).render(**values)

    def _moment(self, at_us: int | None) -> Markup:
        """A moment as people say it; exactly, and in UTC, when asked."""
        if at_us is None:
            return Markup("never")
        stamp = rfc3339(at_us)
        exact = datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        told = _told((self._clock.now_us() - at_us) // 1_000_000, exact)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(stamp, exact, told)


def visible(value: Any) -> Any:
    """Text in which what would hide, or turn it around, is written out by its number; markup of ours as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return _HIDDEN.sub(lambda found: f"\\u{ord(found.group()):04x}", value)


def choice_cookie(request: Request, name: str) -> str:
    """The name of the cookie that keeps a choice."""
    return f"{request.app.state.cookie}-{name}"


def document(value: Any) -> str:
    """A value as JSON in one line, cut where it is very long."""
    text = json.dumps(_ready(value), ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}... ({len(text)} characters)"


def short(digest: str) -> str:
    """The first twelve digits of a digest."""
    return digest.removeprefix("sha256:")[:12]


def chosen(request: Request, name: str) -> str:
    """What the visitor chose, or nothing."""
    said = request.cookies.get(choice_cookie(request, name), "")
    return said if said in CHOICES[name] else ""


def _back(request: Request) -> str:
    """Where a form of the frame leads back to: this page, unless it is what a form made."""
    if request.method != "GET":
        return "/"
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


def _ready(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _ready(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_ready(item) for item in value]
    return value


def _told(ago_s: int, exact: str) -> str:
    if abs(ago_s) < _SPANS[0][0]:
        return "just now"
    found = exact[:16]
    for seconds, name in _SPANS:
        count = abs(ago_s) // seconds
        if 1 <= count < {"minute": 60, "hour": 24, "day": 7}[name]:
            words = f"{count} {name}{'' if count == 1 else 's'}"
            found = f"{words} ago" if ago_s > 0 else f"in {words}"
    return found
