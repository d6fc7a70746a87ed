"""Answers with an entity tag (RFC 9110, 8.8.3): whoever has seen this very answer is told no more."""

from __future__ import annotations

import hashlib

from fastapi import Response
from pydantic import BaseModel


def answer(model: BaseModel, if_none_match: str | None) -> Response:
    """The model as JSON with its tag, or 304 when the caller has it."""
    data = model.model_dump_json().encode()
    tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    known = {each.strip().removeprefix("W/") for each in (if_none_match or "").split(",")}
    if known & {tag, "*"}:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type="application/json", headers=headers)
