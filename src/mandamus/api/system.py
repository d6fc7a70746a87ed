"""Routes of the server itself: is it alive, can it work, what is it, and how is it."""

from __future__ import annotations

from fastapi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError

routes = Routes("system")


@routes.public("/healthz")
def get_health() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@routes.public("/readyz", 503)
def get_ready(house: TheHouse) -> dict[str, str]:
    """The database answers, and somebody works on the runs of this home."""
    house.audit.following.newest()
    if not house.is_engine:
        raise MandamusError(
            Code.UNAVAILABLE,
            "another process is the engine of this home",
            remedy="this one answers, and takes over when that one ends",
            retryable=True,
        )
    return {"status": "ready"}


@routes.public("/version")
def get_version(request: Request) -> dict[str, str]:
    """What runs here."""
    return {"name": "mandamus", "version": request.app.version}


@routes.verb("GET", "/metrics", Permission.SYSTEM_READ, response_class=Response)
def get_metrics(house: TheHouse, who: Who) -> Response:
    """Numbers in the text format of Prometheus."""
    registry = CollectorRegistry()
    runs = Gauge("mandamus_runs", "Runs that are not closed, by state", ["state"], registry=registry)
    for state, count in house.runs.counts(who).items():
        runs.labels(state.value).set(count)
    lag = Gauge("mandamus_audit_lag_seconds", "How long the oldest event waits for its place", registry=registry)
    lag.set(house.audit.lag_s())
    waiting = Gauge("mandamus_audit_queue", "Events that wait for their place", registry=registry)
    waiting.set(house.audit.waiting())
    engine = Gauge("mandamus_engine", "1 when this process works on the runs of the home", registry=registry)
    engine.set(int(house.is_engine))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
