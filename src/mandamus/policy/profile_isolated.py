"""Conventions in which each file is a policy of its own: its package gets a name that no other file has.

Such files share one package and repeat each other's helpers, which would meet when they are evaluated together.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping

from mandamus.policy.tokens import Text


def policies_of(files: Mapping[str, str], package: str, is_module: Callable[[str], bool]) -> dict[str, str]:
    """The files of a package that are policies, and the name that each has as a part of its package."""
    paths = [path for path, text in files.items() if is_module(path) and Text(text).package()[0] == (package,)]
    stems = [_word(posixpath.basename(path).removesuffix(".rego")) for path in paths]
    return {
        path: stem if stems.count(stem) == 1 else _word(path.removesuffix(".rego"))
        for path, stem in zip(paths, stems, strict=True)
    }


def renamed(text: str, package: str, name: str) -> str:
    """The text with its package, and what it says of that package, under a name of its own; lines stay."""
    scanned = Text(text)
    made = text
    for index, token in reversed(list(enumerate(scanned.tokens))):
        before = scanned.tokens[index - 1].text if index else ""
        follows = [one.text for one in scanned.tokens[index + 1 : index + 3]]
        own = token.text == package and before == "package"
        mentioned = token.text == "data" and before != "." and follows == [".", package]
        if token.kind == "word" and (own or mentioned):
            end = token.end if own else scanned.tokens[index + 2].end
            made = f"{made[:end]}.{name}{made[end:]}"
    return made


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name if name[:1].isalpha() else f"_{name}")
