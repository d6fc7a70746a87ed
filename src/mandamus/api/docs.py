"""The contract: OpenAPI 3.1, and a page of it that needs no other server and no script."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, JSONResponse

from mandamus.api.door import Routes, Who
from mandamus.kernel.access import Permission

routes = Routes("system")

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code,pre{font:14px/1.4 ui-monospace,monospace}pre{overflow:auto}summary{cursor:pointer;padding:.4rem 0}"
    "section{border-top:1px solid;margin-top:1rem}"
)
_CSP = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


@routes.verb("GET", "/api/openapi.json", Permission.SYSTEM_READ)
def get_openapi(request: Request, who: Who) -> JSONResponse:  # noqa: ARG001 - the door's
    """The contract of this server."""
    return JSONResponse(request.app.openapi())


@routes.verb("GET", "/api/docs", Permission.SYSTEM_READ, response_class=HTMLResponse)
def get_docs(request: Request, who: Who) -> HTMLResponse:  # noqa: ARG001 - the door's
    """The contract for people."""
    return HTMLResponse(page(request.app.openapi()), headers={"Content-Security-Policy": _CSP})


def page(contract: dict[str, Any]) -> str:
    """The contract as one page of HTML."""
    parts = [
        f"<section><h2><code>{escape(method.upper())} {escape(path)}</code></h2>{_operation(said)}</section>"
        for path, methods in contract["paths"].items()
        for method, said in methods.items()
    ]
    schemas = [
        f"<details id='{escape(name)}'><summary><code>{escape(name)}</code></summary>"
        f"<pre>{_pretty(schema)}</pre></details>"
        for name, schema in contract.get("components", {}).get("schemas", {}).items()
    ]
    title = escape(f"{contract['info']['title']} {contract['info']['version']}")
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}: API</title>"
        f"<meta name='viewport' content='width=device-width'><style>{_STYLE}</style><main><h1>{title}: API</h1>"
        f"{''.join(parts)}<h2>Schemas</h2>{''.join(schemas)}</main></html>"
    )


def _operation(said: dict[str, Any]) -> str:
    needs = said.get("x-permission")
    lines = [f"<p>{escape(said.get('description', said.get('summary', '')))}</p>"]
    lines.append(f"<p>Needs <code>{escape(needs)}</code>.</p>" if needs else "<p>Anybody may ask.</p>")
    given = said.get("parameters", [])
    if given:
        lines.append(f"<details><summary>Parameters</summary><pre>{_pretty(given)}</pre></details>")
    if "requestBody" in said:
        lines.append(f"<details><summary>Body</summary><pre>{_pretty(said['requestBody'])}</pre></details>")
    lines.append(f"<details><summary>Answers</summary><pre>{_pretty(said.get('responses', {}))}</pre></details>")
    return "".join(lines)


def _pretty(value: Any) -> str:
    return escape(json.dumps(value, indent=1))
