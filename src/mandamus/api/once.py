"""Requests that are sent twice are done once: whoever repeats an Idempotency-Key gets the first answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel

from mandamus.api.door import house_of
from mandamus.kernel import canonical
from mandamus.kernel.access import Subject

M = TypeVar("M", bound=BaseModel)


def once(request: Request, who: Subject, key: str | None, body: BaseModel, act: Callable[[], M], model: type[M]) -> M:
    """What ``act`` gives, or gave when the caller sent the key first.

    Raises ``conflict`` when the key was first sent with another request, or when nobody knows how that one ended.
    """
    if key is None:
        return act()
    requests = house_of(request).requests
    asked = canonical.digest_of([request.method, request.url.path, body.model_dump(mode="json")])
    kept = requests.begin(who.user, key, asked)
    if kept is not None:
        return model.model_validate_json(kept)
    try:
        made = act()
    except Exception:
        # Nothing came of it: the same key may be tried again.
        requests.forget(who.user, key)
        raise
    requests.finish(who.user, key, made.model_dump_json().encode())
    return made
