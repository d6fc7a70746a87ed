"""A leaf in the Common Event Format (CEF 0), as the text of a syslog message."""

from __future__ import annotations

import re

from mandamus.audit import export_ocsf
from mandamus.audit.export_model import PRODUCT, Record, visible

_SEVERITY = {"ok": 3, "denied": 6, "failed": 6}
_UNKNOWN = 8
_HEADER = re.compile(r"[\\|]")
_VALUE = re.compile(r"[\\=]")


def encode(record: Record, release: str = "1") -> str:
    """One line of ASCII with the leaf's hash and index, not the leaf; JSON's escapes stand for what is not ASCII."""
    leaf = record.fields
    what, who = leaf["what"], leaf["who"]
    severity = _SEVERITY.get(leaf["outcome"], _UNKNOWN)
    head = ("CEF:0", PRODUCT, PRODUCT, release, leaf["kind"], f"{leaf['kind']} {what['type']}", str(severity))
    values = {
        "rt": leaf["at"] // 1000,
        "externalId": leaf["id"],
        "suser": who["subject"],
        "outcome": leaf["outcome"],
        "reason": leaf["why"],
        "deviceExternalId": record.origin,
        "cs1Label": "leaf",
        "cs1": export_ocsf.sha256(record.leaf),
        "cs2Label": "run",
        "cs2": leaf["run"] or "",
        "cs3Label": "resource",
        "cs3": f"{what['type']}/{what['id']}",
        "cn1Label": "index",
        "cn1": record.index,
    }
    shown = " ".join(f"{key}={_escape(_VALUE, str(value))}" for key, value in values.items() if value != "")
    return "|".join([head[0], *(_escape(_HEADER, part) for part in head[1:]), shown])


def _escape(special: re.Pattern[str], text: str) -> str:
    escaped = special.sub(r"\\\g<0>", text)
    if escaped.isascii() and escaped.isprintable():
        return escaped
    return "".join(char if " " <= char <= "~" else visible(char) for char in escaped)
