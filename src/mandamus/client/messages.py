"""Server-sent events (WHATWG HTML, section 9.2) as this server sends them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One event of a stream: ``id`` is what to go on behind."""

    id: str
    kind: str
    data: str


def messages(lines: Iterable[str]) -> Iterator[Message]:
    """The events in the lines of a stream. One that is cut off before its empty line is none."""
    id_, kind, data = "", "message", list[str]()
    for line in lines:
        if not line:
            if data:
                yield Message(id_, kind, "\n".join(data))
            kind, data = "message", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "id":
                id_ = value
            case "event":
                kind = value
            case "data":
                data.append(value)
            case _:
                # A comment, or a field of a later server.
                pass
