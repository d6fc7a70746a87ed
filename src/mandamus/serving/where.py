"""Where a request came from, as its events say."""

from __future__ import annotations

from starlette.requests import HTTPConnection

from mandamus.kernel.access import Where

AGENT_LENGTH_MAX = 200


def where_of(request: HTTPConnection) -> Where:
    """The caller's address, and what its program calls itself, as far as that can be printed."""
    agent = request.headers.get("user-agent", "")[:AGENT_LENGTH_MAX]
    address = request.client.host if request.client else ""
    return Where(address=address, agent=agent if agent.isprintable() else ascii(agent)[:AGENT_LENGTH_MAX])
