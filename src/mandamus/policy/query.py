"""The one question a set is asked: OPA compiles a set for a query, so there is one, and it tells the points apart."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mandamus.policy.model import RULE, Entry, Modules

CLOCK = "with time.now_ns as time.parse_rfc3339_ns(input.now)"
"""Gives every rule beneath the recorded clock."""


def decide_query(entries: Sequence[Entry], *, clock: bool = False) -> str:
    """The one query of a set: every rule of the input's point as ``[[type, value]]``, and ``[]`` for all others.

    The type is there because a set is a JSON array, too. ``clock`` says that a rule reads ``time.now_ns``. A rule that
    is asked at several points still is one key: of two equal keys OPA would keep the last alone.
    """
    asked: dict[str, str] = {}
    for entry in entries:
        own = _asked(entry, clock=clock)
        known = asked.get(entry.rule)
        asked[entry.rule] = f"array.concat({known}, {own})" if known else own
    return f"{{{', '.join(f'{json.dumps(rule)}: {own}' for rule, own in asked.items())}}}"


def reads_clock(modules: Modules) -> bool:
    """Whether any of the texts mentions the clock; a mention in a comment counts, too."""
    return any("now_ns" in text for _, text in modules)


def _asked(entry: Entry, *, clock: bool) -> str:
    reference = reference_to(entry.rule)
    body = entry.body.replace(RULE, f"{reference} {CLOCK}" if clock else reference)
    return f'[[type_name(v), v] | input.point == "{entry.point}"; {body}]'


def reference_to(rule: str) -> str:
    """A rule's full name as a reference, such as ``data.mandamus.plan["deny"]``."""
    first, *rest = rule.split(".")
    return f"data.{first}" + "".join(f"[{json.dumps(part)}]" for part in rest)
