"""200 open streams on one server: how soon the last of them hears of an event and of a line of output."""

from __future__ import annotations

import asyncio
import base64
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from crowd import Crowd
from events import event
from figures import Figure, median, p95
from serve import served

STREAMS = 200
TIMES = 20
PAUSE_S = 0.5


class Followers:
    """So many connections that follow one path; ``last_s`` is when the last of them has heard of each mark."""

    def __init__(self, url: str, path: str, secrets: list[str]) -> None:
        self._where = urlsplit(url)
        self._heads = [
            f"GET /api/v1/{path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()
            for secret in secrets
        ]
        self._heard: dict[bytes, list[float]] = {}
        self._marks: list[bytes] = []
        self._open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        for head in self._heads:
            asyncio.run_coroutine_threadsafe(self._follow(head), self._loop)
        _until(lambda: self._open == len(self._heads), "all follow")
        return self

    def __exit__(self, *_exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def taken_ms(self, mark: bytes, say: Callable[[], None]) -> float:
        """From the commit of what is said until the last has it."""
        self._heard[mark] = []
        self._marks.append(mark)
        say()
        begin = time.perf_counter()
        _until(lambda: len(self._heard[mark]) == len(self._heads), "all heard")
        return max((max(self._heard[mark]) - begin) * 1000, 0.0)

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _follow(self, head: bytes) -> None:
        reader, writer = await asyncio.open_connection(self._where.hostname, self._where.port)
        writer.write(head)
        status = await reader.readline()
        if b" 200 " not in status:
            raise ConnectionError(status.decode())
        self._open += 1
        while line := await reader.readline():
            for mark in self._marks[-1:]:
                if mark in line:
                    self._heard[mark].append(time.perf_counter())


def measure() -> Iterator[Figure]:
    """On SQLite; what is said is committed by another process, as a worker of another node would."""
    with tempfile.TemporaryDirectory() as folder:
        crowd = Crowd(Path(folder), runs=10, events=10)
        with served(crowd.stage.home) as server, crowd.stage.house(None) as house:
            run = crowd.run
            secrets = [list(crowd.secrets.values())[number % len(crowd.secrets)] for number in range(STREAMS)]
            with Followers(server.url, f"runs/{run}/events", secrets) as followers:

                def recorded(number: int) -> None:
                    with house.rooms.db.begin("bench") as tx:
                        house.audit.record(tx, event(run, attempt=number))

                taken = _each(followers, lambda number: f'"attempt":{number}'.encode(), recorded)
            yield from _figures("event", taken)
            with Followers(server.url, f"runs/{run}/steps/change/log/stream", secrets) as followers:

                def printed(number: int) -> None:
                    house.rooms.outputs.append(run, "change", 1, "apply", _line(number))

                taken = _each(followers, lambda number: base64.b64encode(_line(number)), printed)
                memory = server.resident_mb
            yield from _figures("line of output", taken)
            yield Figure(f"server memory, {STREAMS} streams", memory, "MB", 400)


def _each(followers: Followers, mark: Callable[[int], bytes], say: Callable[[int], None]) -> list[float]:
    taken = []
    for number in range(100_000, 100_000 + TIMES):
        taken.append(followers.taken_ms(mark(number), lambda number=number: say(number)))
        time.sleep(PAUSE_S)
    return taken


def _figures(what: str, taken: list[float]) -> Iterator[Figure]:
    note = f"median {median(taken):.0f} ms"
    yield Figure(f"{what} reaches the last of {STREAMS} streams, p95", p95(taken), "ms", 1_000, note=note)


def _line(number: int) -> bytes:
    return f"line {number:09d}\n".encode()  # 15 bytes: in base 64 it ends where the next one begins


def _until(condition: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + 120
    while not condition():
        if time.monotonic() > end_s:
            raise TimeoutError(f"not {what} within two minutes")
        time.sleep(0.002)


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure.name}: {figure.value:.1f} {figure.unit} {figure.note}", flush=True)
