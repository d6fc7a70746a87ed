"""Reads ``anchors.yaml``: which anchors a home has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mandamus.audit.anchor_git import is_branch
from mandamus.kernel.document import Finding, Node, parse
from mandamus.kernel.errors import Code
from mandamus.kernel.reader import Reader

EVERY_S = 3_600
BRANCH = "anchors"
KEYS = {
    "git": ("kind", "path", "branch", "every"),
    "folder": ("kind", "path", "every"),
    "rfc3161": ("kind", "path", "url", "roots", "every"),
}
_REQUIRED = {"git": ("path",), "folder": ("path",), "rfc3161": ("path", "url", "roots")}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_URL = re.compile(r"https?://[!-~]+")


@dataclass(frozen=True)
class Declared:
    """An anchor as declared. ``every_s`` is how often it is due; what its kind does not need is empty."""

    name: str
    kind: str
    path: Path
    every_s: int
    branch: str = ""
    url: str = ""
    roots: Path = Path()


def read(data: bytes, file: str, folder: Path) -> tuple[Declared, ...]:
    """The anchors in a file, in its order; paths are relative to ``folder``.

    Raises ``document_invalid`` with every problem.
    """
    reader = Reader()
    fields = reader.table(parse(data, file), "the file", ("anchors",), required=("anchors",))
    found = []
    for name, node in reader.mapping(fields["anchors"], "`anchors`").items() if "anchors" in fields else ():
        if not _NAME.fullmatch(name):
            at = fields["anchors"].key_at(name)
            remedy = "use small letters, digits and dashes, such as `notary`"
            reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is no name for an anchor", remedy)
        found.append(_anchor(reader, name, node, folder))
    reader.raise_for(Code.DOCUMENT_INVALID, "correct the file; docs/how-to/anchor-the-log.md shows one")
    return tuple(found)


def _anchor(reader: Reader, name: str, node: Node, folder: Path) -> Declared:
    what = f"anchor `{name[:60]}`"
    kind_node = node.fields.get("kind")
    kind = reader.choice(kind_node, "`kind`", tuple(KEYS), default="") if kind_node is not None else ""
    every = {key for keys in KEYS.values() for key in keys}
    fields = reader.table(node, what, KEYS.get(kind, tuple(every)), required=("kind", *_REQUIRED.get(kind, ())))
    branch = _text(reader, fields, "branch") or BRANCH
    if not is_branch(branch):
        reader.add(
            fields["branch"], Finding.WRONG_VALUE, f"`{branch[:60]}` is no branch", "use letters, digits, - . _ /"
        )
    url = _text(reader, fields, "url")
    if url and not _URL.fullmatch(url):
        reader.add(fields["url"], Finding.WRONG_VALUE, f"`{url[:60]}` is no URL", "begin with https:// or http://")
    return Declared(
        name=name,
        kind=kind,
        path=folder / _text(reader, fields, "path"),
        every_s=reader.duration_s(fields["every"], "`every`") if "every" in fields else EVERY_S,
        branch=branch if kind == "git" else "",
        url=url,
        roots=folder / _text(reader, fields, "roots"),
    )


def _text(reader: Reader, fields: Mapping[str, Node], key: str) -> str:
    return reader.text(fields[key], f"`{key}`", late=False) if key in fields else ""
