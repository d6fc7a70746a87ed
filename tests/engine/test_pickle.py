"""Whoever can write to the database still cannot run code in us: rows that claim pickle are refused."""

import base64
import contextlib
import logging
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dbos._serialization
import pytest
import sqlalchemy as sa
import structlog
from dbos import DBOS

from mandamus.engine import dispatch
from mandamus.engine.service import Engine
from mandamus.kernel.errors import Code, MandamusError
from mandamus.store.database import Database
from mandamus.store.schema import metadata

PAYLOADS = {"inputs", "output", "error", "message", "value", "context", "result"}
STATUSES = ["ENQUEUED", "PENDING", "DELAYED", "SUCCESS", "ERROR"]
CLAIMS = ["py_pickle", "portable_json"]


class _Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self._canary),)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture
def bomb(canary: Path) -> str:
    made = base64.b64encode(pickle.dumps(_Bomb(canary))).decode()
    pickle.loads(base64.b64decode(made))  # noqa: S301 - it has to be shown that it would work
    assert canary.is_dir()
    canary.rmdir()
    return made


@pytest.fixture
def tables(db: Database) -> dict[str, sa.Table]:
    """Every table of DBOS as it really is, by name."""
    found = sa.MetaData()
    with db.read() as conn:
        found.reflect(conn, schema=None if db.is_sqlite else "dbos")
    return {table.name: table for table in found.tables.values() if table.name not in metadata.tables}


@pytest.fixture
def plant(db: Database, tables: dict[str, sa.Table], bomb: str) -> Callable[[], list[str]]:
    """Write the bomb into every payload column of every table of DBOS, under every claim; gives the tables' names."""

    def planted() -> list[str]:
        names = [name for name, table in tables.items() if PAYLOADS & set(table.columns.keys())]
        with db.begin("plant") as tx:
            for claim in CLAIMS:
                for status in STATUSES:
                    row = f"run/{claim}.{status}/1"
                    tx.conn.execute(tables["workflow_status"].insert().values(_job(row, claim, status, bomb)))
                    for name in names:
                        if name != "workflow_status":
                            tx.conn.execute(tables[name].insert().values(_row(tables[name], row, claim, bomb)))
        return names

    return planted


def _job(row: str, claim: str, status: str, bomb: str) -> dict[str, Any]:
    return {
        "workflow_uuid": row,
        "status": status,
        "name": dispatch.WORKFLOW,
        "executor_id": "node",
        "application_version": dispatch.VERSION,
        "application_name": dispatch.NAME,
        "queue_name": dispatch.QUEUE,
        "inputs": bomb,
        "output": bomb,
        "error": bomb,
        "serialization": claim,
        "priority": 0,
        "created_at": 1,
        "updated_at": 1,
        "recovery_attempts": 1,
        "delay_until_epoch_ms": 1,
    }


def _row(table: sa.Table, row: str, claim: str, bomb: str) -> dict[str, Any]:
    """A row with the bomb in every payload column and something that fits in every other."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.name in PAYLOADS:
            values[column.name] = bomb
        elif column.name == "serialization":
            values[column.name] = claim
        elif column.name in {"workflow_uuid", "destination_uuid"}:
            values[column.name] = row
        elif not column.nullable and column.autoincrement is not True and column.server_default is None:
            values[column.name] = 1 if isinstance(column.type, sa.Integer) else f"{row}.{column.name}"
    return values


def test_every_table_that_names_a_serializer_is_planted(tables: dict[str, sa.Table]):
    """The test below covers every table in which DBOS lets a row choose its serializer."""
    choosing = {name for name, table in tables.items() if "serialization" in table.columns}
    assert choosing == {name for name in choosing if PAYLOADS & set(tables[name].columns.keys())}
    assert {"workflow_status", "operation_outputs", "notifications", "workflow_events", "streams"} <= choosing


# DBOS's thread for schedules, of which we have none, dies of the planted one.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_planted_rows_run_no_code(engine: Engine, worker, enqueue, plant, canary: Path, db: Database, eventually):
    """Start, recover, claim, list, read: no planted row runs code, the refusal is told, and honest jobs go on."""
    names = plant()
    assert len(names) >= 8
    logging.getLogger("dbos").handlers = [dispatch._OurLog()]  # one that has said nothing yet
    with structlog.testing.capture_logs() as logs:
        assert engine.start({"run": worker})
        enqueue("honest")
        eventually(lambda: "honest" in worker.seen)
        eventually(lambda: any("pickle" in entry.get("said", "") for entry in logs))
        _read_all()
        engine.stop()
        assert engine.start({"run": worker})
        eventually(lambda: engine.running)
        engine.stop()
    assert not canary.exists()
    assert set(worker.seen) == {"honest"}


def _read_all() -> None:
    """Every way in which DBOS reads what rows hold; most of them fail, and that is what is wanted."""
    assert len(DBOS.list_workflows()) >= len(CLAIMS) * len(STATUSES) - 2
    readers: list[Callable[[str], object]] = [
        DBOS.list_workflow_steps,
        DBOS.get_workflow_status,
        DBOS.get_all_events,
        lambda row: DBOS.get_event(row, f"{row}.key", 0.01),
        lambda _row: DBOS.list_schedules(),
    ]
    of_ended: list[Callable[[str], object]] = [
        lambda row: DBOS.retrieve_workflow(row).get_result(),
        lambda row: next(iter(DBOS.read_stream(row, f"{row}.key"))),
    ]
    for claim in CLAIMS:
        for status in STATUSES:
            for reader in readers + of_ended if status in {"SUCCESS", "ERROR"} else readers:
                with contextlib.suppress(Exception):
                    reader(f"run/{claim}.{status}/1")


@pytest.mark.parametrize("verb", ["loads", "dumps", "load", "Unpickler"])
def test_pickle_is_refused_by_name(verb: str):
    """Whatever DBOS would do with pickle raises ``engine_pickle``, with a remedy."""
    dispatch.forbid_pickle()
    with pytest.raises(MandamusError) as caught:
        getattr(dbos._serialization.pickle, verb)
    assert caught.value.code is Code.ENGINE_PICKLE
    assert caught.value.remedy


def test_reading_a_pickled_value_raises_engine_pickle(bomb: str, canary: Path):
    """The three doors through which DBOS reads a row raise our error, whatever serializer is configured."""
    dispatch.forbid_pickle()
    ours = dispatch._Json()
    for door in (
        dbos._serialization.deserialize_value,
        dbos._serialization.deserialize_args,
        dbos._serialization.deserialize_exception,
    ):
        with pytest.raises(MandamusError) as caught:
            door(bomb, "py_pickle", ours)
        assert caught.value.code is Code.ENGINE_PICKLE
    assert not canary.exists()
