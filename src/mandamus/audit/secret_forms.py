"""The forms by which secrets are known, so that none enters a log that keeps everything for ever."""

from __future__ import annotations

import re

_START = r"(?:(?<=\\[nrt])|(?<![0-9A-Za-z_-]))"
"""Where a word begins, also behind a line break as JSON writes it."""

_FORMS = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----",
    r"PRIVATE\+KEY\+[^+\s]+\+",
    r"AGE-SECRET-KEY-1[0-9A-Z]{20,}",
    _START + r"(?:AKIA|ASIA)[0-9A-Z]{16}(?![0-9A-Za-z])",
    _START + r"AIza[0-9A-Za-z_-]{35}",
    _START + r"gh[opsur]_[0-9A-Za-z]{30,}",
    _START + r"github_pat_[0-9A-Za-z_]{22,}",
    _START + r"glpat-[0-9A-Za-z_-]{20,}",
    _START + r"xox[a-z]-[0-9A-Za-z-]{10,}",
    _START + r"hv[sb]\.[0-9A-Za-z_-]{20,}",
    r"[0-9A-Za-z]{14}\.atlasv1\.[0-9A-Za-z_-]{20,}",
    _START + r"sk-[0-9A-Za-z_-]{20,}",
    r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.",
    r"[Bb]earer +[0-9A-Za-z._~+/-]{20,}",
    r'://[^/\s:@"]+:[^/\s@"]+@',
)
"""Private keys (PEM, signed notes, age), tokens of well-known services, and passwords in addresses."""

_HINTS = (
    *(b"PRIVATE", b"AGE-SECRET-KEY-1", b"AKIA", b"ASIA", b"AIza", b"gho_", b"ghp_", b"ghs_", b"ghu_", b"ghr_"),
    *(b"github_pat_", b"glpat-", b"xox", b"hvs.", b"hvb.", b".atlasv1.", b"sk-", b"eyJ", b"earer ", b"://"),
)
"""Each form has one of these in it. To look for them first is a hundred times faster, and every event is looked at."""

_KNOWN = re.compile("|".join(_FORMS))
_KNOWN_BYTES = re.compile("|".join(_FORMS).encode())


def holds_secret(data: bytes) -> bool:
    """Whether a JSON text holds something of one of the forms, in whichever field."""
    return any(hint in data for hint in _HINTS) and _KNOWN_BYTES.search(data) is not None


def without_secrets(text: str) -> str:
    """The text with ``[redacted]`` for each, for the platform's own words about what somebody sent."""
    return _KNOWN.sub("[redacted]", text)
