"""What routes are given in path and query, as the contract says it: ids by form, numbers that a database holds."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, TypeVar

from fastapi import Path, Query
from pydantic import BeforeValidator

from mandamus.kernel.errors import Code, MandamusError

BIGINT_MAX = 2**63 - 1
SAFE_MAX = 2**53 - 1
"""The largest number that every reader of the log holds exactly (RFC 8785, 3.2.2.3)."""
ATTEMPT_MAX = 2**31 - 1

T = TypeVar("T")

_ID = "[0-9a-hjkmnp-tv-z]{26}"
_EXAMPLE = "01m89tq850e2cvgwyfb9428ekw"
_NUMBER = re.compile("[0-9]{1,18}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d")


def _rfc3339(value: object) -> object:
    # A bare number would be read as seconds since the epoch, and the contract says RFC 3339.
    if isinstance(value, str) and not _MOMENT.match(value):
        raise ValueError("give a moment as in 2026-01-31T12:00:00Z")
    return value


Run = Annotated[str, Path(examples=[f"run_{_EXAMPLE}"], json_schema_extra={"pattern": f"^run_{_ID}$"})]
Decision = Annotated[str, Path(examples=[f"dec_{_EXAMPLE}"], json_schema_extra={"pattern": f"^dec_{_ID}$"})]
Exemption = Annotated[str, Path(examples=[f"exm_{_EXAMPLE}"], json_schema_extra={"pattern": f"^exm_{_ID}$"})]
Token = Annotated[str, Path(examples=[f"tok_{_EXAMPLE}"], json_schema_extra={"pattern": f"^tok_{_ID}$"})]
Subscription = Annotated[str, Path(examples=["deploys"])]
Session = Annotated[str, Path(examples=[f"ses_{_EXAMPLE}"], json_schema_extra={"pattern": f"^ses_{_ID}$"})]
User = Annotated[str, Path(max_length=128, examples=["somebody"])]
Step = Annotated[str, Path(examples=["change"])]
PolicySet = Annotated[str, Path(examples=["base"])]
Environment = Annotated[str, Path(examples=["dev"])]
Project = Annotated[str, Path(examples=["storage"])]
Workflow = Annotated[str, Path(examples=["workflows/deploy.yaml"])]
Index = Annotated[int, Path(ge=0, le=SAFE_MAX, examples=[0])]
Offset = Annotated[int, Query(ge=0, le=BIGINT_MAX)]
Attempt = Annotated[int | None, Query(ge=1, le=ATTEMPT_MAX)]
Phase = Annotated[str, Query(pattern="^(plan|apply)$")]
Moment = Annotated[datetime | None, BeforeValidator(_rfc3339)]


def number(text: str | None, default: T, name: str) -> int | T:
    """A number that this server gave out; raises ``value_invalid`` for what it cannot have given."""
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise MandamusError(Code.VALUE_INVALID, f"{name} is none of this list", remedy="send it back as it came")
    return int(text)
