"""What every model has: unknown fields are refused when read from a caller, times are RFC 3339 in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from mandamus.kernel.clock import rfc3339

T = TypeVar("T")


def micros(at: datetime) -> int:
    """A moment in microseconds since the epoch; one without a zone is in UTC."""
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    moved = at - datetime(1970, 1, 1, tzinfo=UTC)
    return (moved.days * 86_400 + moved.seconds) * 1_000_000 + moved.microseconds


def micros_or_none(at: datetime | None) -> int | None:
    """The same of a moment that may not be there."""
    return None if at is None else micros(at)


Time = Annotated[datetime, PlainSerializer(lambda at: rfc3339(micros(at)), return_type=str, when_used="json")]
"""A moment, as in ``2026-01-31T12:00:00.000000Z``."""


def time(at_us: int) -> datetime:
    """Microseconds since the epoch as a moment."""
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)


def time_or_none(at_us: int | None) -> datetime | None:
    """The same for what may not have happened."""
    return None if at_us is None else time(at_us)


class Wire(BaseModel):
    """A model of what is sent."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Body(BaseModel):
    """A model of what a caller gives: a field that nobody knows is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(Wire, Generic[T]):
    """Some of a list, newest first; ``next`` is what to give as ``cursor`` for the rest, null at the end."""

    items: list[T]
    next: str | None = None


class Stopped(Wire):
    """Why a stream ends before its end: the ``data`` of its event ``stopped``."""

    code: str
    detail: str
    remedy: str


class Problem(Wire):
    """What went wrong (RFC 9457), with the house's four parts: ``code``, ``detail``, ``remedy`` and ``context``."""

    type: Annotated[str, Field(examples=["urn:mandamus:error:not_found"])]
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(examples=["there is no run run_..."])]
    code: Annotated[str, Field(examples=["not_found"])]
    remedy: Annotated[str, Field(examples=["list runs with GET /api/v1/runs"])]
    retryable: bool = False
    context: dict[str, Any] = Field(default_factory=dict)
    instance: str | None = None
