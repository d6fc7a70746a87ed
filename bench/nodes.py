"""Sixteen clients of one Postgres, in as many processes as this machine has cores: audited commits and bare ones."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import psycopg
from events import Log, leaf_bytes
from figures import ROUNDS, Figure, interleaved, median

from mandamus.store.database import Database, open_postgres

NODES = 2
CLIENTS = 16
PER_CLIENT = 50


class Node:
    """A process with its share of the clients, as each node of a platform is one. Both kinds of commit run in it."""

    def __init__(self, url: str, folder: Path, number: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, url, folder, number), daemon=True)
        self._process.start()

    def begin(self, kind: str) -> None:
        """Have every client make its commits."""
        self._pipe.send(kind)

    def wait(self) -> float:
        """CPU seconds of the process for them, once they are all made; raises ``EOFError`` when it failed."""
        spent: float = self._pipe.recv()
        return spent

    def end(self) -> None:
        """Stop the process."""
        self._pipe.send(None)
        self._process.join()


def measure(url: str, folder: Path) -> Iterator[Figure]:
    """On a Postgres that holds nothing else; the log is there already."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE raw_commit (row bytea)")
    nodes = [Node(url, folder, number) for number in range(NODES)]

    spent: dict[str, list[float]] = {"audited": [], "raw": []}

    def all_of(kind: str) -> None:
        for node in nodes:
            node.begin(kind)
        spent[kind].append(sum(node.wait() for node in nodes))

    ours, bare = interleaved((lambda: all_of("audited"), lambda: all_of("raw")), ROUNDS + 1)
    for node in nodes:
        node.end()
    # The first round makes the streams and the plans.
    count, taken, limit = CLIENTS * PER_CLIENT, median(ours[1:]), median(bare[1:])
    yield Figure(
        "audited commits, 16 clients on Postgres",
        count / taken,
        "/s",
        0.6 * count / limit,
        at_least=True,
        limit=count / limit,
        limit_name="raw commits/s",
        note=f"clients in {NODES} processes; a raw commit is one row as large as a leaf",
    )
    yield Figure(
        "CPU of a client for one of them",
        median(spent["audited"][1:]) / count * 1e6,
        "us",
        limit=median(spent["raw"][1:]) / count * 1e6,
        limit_name="us for a raw commit",
    )


def _serve(pipe: Connection, url: str, folder: Path, number: int) -> None:
    database = Database(open_postgres(url))
    log = Log(database, folder)
    clients = range(CLIENTS // NODES)
    connections = [psycopg.connect(url) for _ in clients]
    row = leaf_bytes()

    def audited(client: int) -> None:
        for _ in range(PER_CLIENT):
            log.record(f"run_{number}_{client}")

    def raw(client: int) -> None:
        for _ in range(PER_CLIENT):
            connections[client].execute("INSERT INTO raw_commit VALUES (%s)", (row,))
            connections[client].commit()

    with ThreadPoolExecutor(len(clients)) as pool:
        while (kind := pipe.recv()) is not None:
            before = time.process_time()
            list(pool.map(audited if kind == "audited" else raw, clients))
            pipe.send(time.process_time() - before)
    for connection in connections:
        connection.close()
    database.close()
