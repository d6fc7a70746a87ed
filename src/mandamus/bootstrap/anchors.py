"""Makes a home's anchors of what its ``anchors.yaml`` declares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from mandamus.audit.anchor import Anchor
from mandamus.audit.anchor_check import Named
from mandamus.audit.anchor_file import Declared, read
from mandamus.audit.anchor_folder import FolderAnchor
from mandamus.audit.anchor_git import GitAnchor
from mandamus.audit.post import post
from mandamus.cli.late import late

ANCHORS_FILE = "anchors.yaml"

# Parsers of certificates are slow to import, and few homes ask a timestamp server.
_timestamps = late("mandamus.audit.anchor_rfc3161:TimestampAnchor")


def find_anchors(home: Path, environ: Mapping[str, str]) -> list[Named]:
    """The anchors of a home, none when it has no such file; raises ``document_invalid``."""
    path = home / ANCHORS_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    return [Named(each.name, each.every_s, _made(each, environ)) for each in read(data, str(path), home)]


def _made(declared: Declared, environ: Mapping[str, str]) -> Anchor:
    if declared.kind == "git":
        return GitAnchor(declared.path, declared.branch, environ)
    if declared.kind == "folder":
        return FolderAnchor(declared.path, os.urandom)
    made: Anchor = _timestamps(declared.url, declared.path, declared.roots, post, os.urandom)
    return made
