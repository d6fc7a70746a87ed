"""The API of a home with 100,000 runs and 1,000,000 events: lists by each filter, memory, and how soon it answers."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
from crowd import EVENTS, RUNS, WAITING_EVERY, Crowd
from figures import Figure, median, p95, seconds
from serve import served

TIMES = 40
TARGET_MS = 50.0
LISTS = {
    "runs": "runs",
    "runs by state": "runs?state=failed",
    "runs by a rare state": "runs?state=waiting",
    "runs by environment": "runs?environment=bench",
    "runs by a rare environment": "runs?environment=rare",
    "runs by project": "runs?project=project-7",
    "runs by workflow": "runs?workflow=workflow-7",
    "runs by requester": "runs?requester=user-7",
    "runs of a project that is not there": "runs?project=none",
    "runs of an environment that is not there": "runs?environment=none",
    "runs by state and project": "runs?state=failed&project=project-7",
    "decisions": "policy/decisions",
    "decisions by outcome": "policy/decisions?outcome=deny",
    "decisions by point": "policy/decisions?point=plan",
    "decisions by environment": "policy/decisions?environment=rare",
    "decisions of a run": f"policy/decisions?run=run_{7:026x}",
    "events": "audit/events",
    "events by actor": "audit/events?actor=user-7",
    "events by kind": "audit/events?kind=approval.recorded",
    "events of a run": f"audit/events?run=run_{7:026x}",
    "events by outcome": "audit/events?outcome=denied",
}
"""What is asked for; pages begin in turn at the newest and in the middle."""


def measure(runs: int = RUNS, events: int = EVENTS) -> Iterator[Figure]:
    """On SQLite, by HTTP, with a token."""
    with tempfile.TemporaryDirectory() as folder:
        crowd = Crowd(Path(folder), runs, events)
        with served(crowd.stage.home) as server:
            yield Figure("server answers after", server.start_s, "s", 3.0)
            owner, grace = (_client(server.url, crowd.secrets[user]) for user in (None, "grace"))
            with owner, grace:
                for name, query in LISTS.items():
                    yield _figure(name, owner, query, runs)
                yield _figure(f"inbox, {runs // WAITING_EVERY} wait", grace, "inbox", runs)
            note = f"policy workers {server.workers_mb:.0f} MB"
            yield Figure("server memory after it", server.resident_mb, "MB", 150, note=note)


def _client(url: str, secret: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=120)


def _figure(name: str, client: httpx2.Client, query: str, runs: int) -> Figure:
    listed, bare = _taken_ms(client, query, runs)
    limit = {"limit": p95(bare), "limit_name": "ms bare answer", "note": f"median {median(listed):.0f} ms"}
    return Figure(f"API: {name}, p95", p95(listed), "ms", TARGET_MS, **limit)


def _taken_ms(client: httpx2.Client, query: str, runs: int) -> tuple[list[float], list[float]]:
    """Of the list, and in turn with it of an answer that needs no database."""
    kind = {"runs": "run", "policy": "dec"}.get(query.replace("?", "/").partition("/")[0])
    middle = f"{'&' if '?' in query else '?'}cursor={kind}_{runs // 2:026x}" if kind else ""
    taken: list[float] = []
    bare: list[float] = []
    while len(taken) < TIMES:
        begin = time.perf_counter()
        answer = client.get(f"/api/v1/{query}{middle * (len(taken) % 2)}")
        ended = time.perf_counter()
        if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            time.sleep(float(answer.headers["retry-after"]))
            continue
        answer.raise_for_status()
        taken.append((ended - begin) * 1000)
        bare.append(seconds(lambda: client.get("/version")) * 1000)
    return taken, bare


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.name}: {figure.value:.1f} {figure.unit} {figure.note}", flush=True)
