"""The parts of JSON pointers (RFC 6901, section 3): ``~`` and ``/`` of a name are written ``~0`` and ``~1``."""

from __future__ import annotations


def escaped(name: str) -> str:
    """A name as a part of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def unescaped(part: str) -> str:
    """The name that a part of a pointer stands for."""
    return part.replace("~1", "/").replace("~0", "~")
