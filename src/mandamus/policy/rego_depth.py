"""Rego that is nested too deeply: OPA's parser takes it, and then its stack ends in the middle of the work."""

from __future__ import annotations

import re

from mandamus.policy.engine import Refusal

NESTED_MAX = 100
"""Brackets of any kind, one in the other; as deep as an input may be."""

_BRACKET = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*|(?P<open>[(\[{])|(?P<close>[)\]}])')


def too_deep(path: str, text: str) -> Refusal | None:
    """Why a module is not handed to OPA, in the form in which OPA says such things; None when it can be."""
    if sum(map(text.count, "([{")) <= NESTED_MAX:
        return None
    depth = 0
    for found in _BRACKET.finditer(text):
        depth += bool(found["open"]) - bool(found["close"])
        if depth > NESTED_MAX:
            return refusal(path, text.count("\n", 0, found.start()) + 1, f"nested deeper than {NESTED_MAX}")
    return None


def refusal(path: str, line: int, why: str) -> Refusal:
    """What OPA would have said, had it got to it."""
    return Refusal("rego_parse_error", f"{path}:{line}: rego_parse_error: {why}")
