"""The console of a home with 100,000 runs and 1,000,000 events: how soon each screen is there, how large a run is."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx2
from crowd import EVENTS, RUNS, Crowd
from events import event
from figures import Figure, median, p95, seconds
from printed import LINES, print_lines
from serve import served

from mandamus.bootstrap.house import House
from mandamus.kernel.ids import RunId
from mandamus.runs import store

TIMES = 40
HEARD = 20
TARGET_MS = 150.0
BYTES_MAX_KB = 150.0
SCREENS = {
    "Home": "/",
    "Runs": "/runs",
    "Runs by state": "/runs?state=failed",
    "Runs by state and project": "/runs?state=failed&project=project-7",
    "Runs of an environment that is not there": "/runs?environment=none",
    "Run": "/runs/{run}",
    "Run, a step": "/runs/{run}/steps/change",
    "Run of 200 steps": "/runs/{run200}",
    "Run of 2,000 steps": "/runs/{run2000}",
    "Catalog": "/catalog",
    "Workflows": "/workflows",
    "Approvals": "/approvals",
    "Decide": "/runs/{run}/steps/change/decide",
    "Policies": "/policies",
    "Policies by outcome": "/policies?outcome=deny",
    "Policies by environment": "/policies?environment=rare",
    "A policy set": "/policies/sets/policy",
    "A decision": "/policies/decisions/{decision}",
    "Exemptions": "/policies/exemptions",
    "Environments": "/environments",
    "An environment": "/environments/bench",
    "Audit": "/audit",
    "Audit by actor": "/audit?actor=user-7",
    "Audit by text": "/audit?text=nowhere",
    "Settings": "/settings",
}
"""By name; what stands in braces is filled in."""
SIZED = ("Run", "Run of 200 steps", "Run of 2,000 steps")


def measure(runs: int = RUNS, events: int = EVENTS) -> Iterator[Figure]:
    """On SQLite, by HTTP, signed in as an approver for whom a 500th of the runs wait."""
    with tempfile.TemporaryDirectory() as folder:
        crowd = Crowd(Path(folder), runs, events)
        with crowd.stage.house(None) as house:
            link = house.sessions.link(house.who, "grace")
            names = {"run": crowd.run, "decision": house.policy.decisions(house.who, RunId(crowd.run))[0].id}
            for count in (200, 2_000):
                names[f"run{count}"] = f"run_{count:026x}"
                _grow(house, RunId(names[f"run{count}"]), count)
            print_lines(house, crowd.run, "change")
        with served(crowd.stage.home) as server, closing(_console(server.url, link)) as client:
            paths = {name: path.format(**names) for name, path in SCREENS.items()}
            for name in SIZED:
                yield Figure(f"page and files: {name}", _loaded_kb(client, paths[name]), "KB", BYTES_MAX_KB)
            for name, path in paths.items():
                yield _figure(f"screen: {name}, p95", client, path, TARGET_MS)
            log = f"/runs/{crowd.run}/steps/change/log"
            yield _figure(f"an output of {LINES} lines opens, p95", client, log, 1_000)
            yield _figure("a range in its middle, p95", client, f"{log}?from={LINES // 2}&to={LINES // 2 + 10}", 1_000)
            yield _figure("a text is searched for in all of it, p95", client, f"{log}?q=nowhere", 1_000)
            yield _figure("a text that is in each line, p95", client, f"{log}?q=line", 1_000)
            with crowd.stage.house(None) as house:
                yield _heard(house, client, RunId(crowd.run))
            yield Figure("server memory after it", server.resident_mb, "MB", 150)


def _grow(house: House, run: RunId, count: int) -> None:
    """Give a run so many steps in all, each behind one of the row before it."""
    names = [f"{('build', 'check', 'deploy')[at % 3]}-{at}" for at in range(count - 1)]
    rows = [
        {"name": name, "needs": [names[at - 20]] if at >= 20 else [], "tries": 1, "changed_us": 0}
        for at, name in enumerate(names)
    ]
    with house.rooms.db.begin("bench") as tx:
        store.insert_steps(tx.conn, run, rows)


def _console(url: str, link: str) -> httpx2.Client:
    """A browser that is signed in."""
    client = httpx2.Client(base_url=url, headers={"Origin": url}, timeout=120)
    client.post("/sign-in", data={"link": link.rpartition("=")[2]})
    return client


def _loaded_kb(client: httpx2.Client, path: str) -> float:
    """A page with the style and scripts that it loads."""
    page = client.get(path).raise_for_status()
    files = set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))
    return sum(len(client.get(each).content) for each in (path, *files)) / 1024


def _figure(name: str, client: httpx2.Client, path: str, target_ms: float) -> Figure:
    """In turn with an answer that needs no database."""
    taken: list[float] = []
    bare: list[float] = []
    while len(taken) < TIMES:
        begin = time.perf_counter()
        answer = client.get(path)
        ended = time.perf_counter()
        if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            time.sleep(float(answer.headers["retry-after"]))
            continue
        if answer.status_code != httpx2.codes.OK:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text[-500:]}")
        taken.append((ended - begin) * 1000)
        bare.append(seconds(lambda: client.get("/static/icon.svg")) * 1000)
    note = f"median {median(taken):.0f} ms"
    return Figure(name, p95(taken), "ms", target_ms, limit=p95(bare), limit_name="ms bare answer", note=note)


def _heard(house: House, client: httpx2.Client, run: RunId) -> Figure:
    """From the commit of an event, by another process, until its page has it."""
    taken: list[float] = []
    with client.stream("GET", f"/runs/{run}/live") as answer:
        lines = answer.iter_lines()
        while len(taken) < HEARD:
            mark = f"mark {len(taken):06d}"
            next(line for line in lines if not line)  # a part of the page is whole
            with house.rooms.db.begin("bench") as tx:
                store.update_run(tx.conn, run, reason=mark)
                house.audit.record(tx, event(run))
            begin = time.perf_counter()
            next(line for line in lines if mark in line)
            taken.append((time.perf_counter() - begin) * 1000)
    return Figure("event reaches the page, p95", p95(taken), "ms", 500, note=f"median {median(taken):.0f} ms")


if __name__ == "__main__":
    for figure in measure(*map(int, sys.argv[1:])):
        print(f"{figure.name}: {figure.value:.1f} {figure.unit} {figure.note}", flush=True)
