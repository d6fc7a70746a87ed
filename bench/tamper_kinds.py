"""The ways to tamper: with bytes, with leaves and hashes, with rows, with the files of a bundle."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tamper_ground import Ground
from tamper_pruned import Pruned

from mandamus.audit import tiles
from mandamus.evidence.record import RECORD, fold, unfold
from mandamus.store.schema import metadata

Draw = random.Random
Hit = bool | None
"""Whether the change was found; None when this draw changed nothing or the database itself refused it."""

BYTES = ("flip", "drop", "insert", "swap", "truncate")
ROWS = (*BYTES, "roll back")
PROVED = {
    "audit_event": (), "audit_leaf": (), "audit_node": (), "audit_head": (), "audit_checkpoint": ("at_us",),
    "audit_private": (), "audit_queue": (), "audit_stream": (), "decision": (), "approval": (),
}  # fmt: skip
"""The tables, each with the columns that nothing proves and nothing relies on."""
APART_ROWS = {("audit_private", "drop"), ("audit_private", "roll back")}
"""What erasing somebody looks like: a commitment without its value is still a commitment."""


def change(data: bytes, how: str, draw: Draw) -> bytes:
    """Other bytes, or the same when that cannot be done to these."""
    if not data:
        return data
    at, end = sorted((draw.randrange(len(data)), draw.randrange(len(data) + 1)))
    if how == "flip":
        return data[:at] + bytes([data[at] ^ 1 << draw.randrange(8)]) + data[at + 1 :]
    if how == "drop":
        return data[:at] + data[at + draw.randrange(1, 9) :]
    if how == "insert":
        return data[:at] + draw.randbytes(draw.randrange(1, 9)) + data[at:]
    if how == "truncate":
        return data[:at]
    return data[:at] + data[end : end + 1] + data[at + 1 : end] + data[at : at + 1] + data[end + 1 :]


def reorder(items: list[bytes], how: str, draw: Draw) -> list[bytes]:
    """Other items, each of them genuine."""
    made = list(items)
    at, other = draw.randrange(len(made)), draw.randrange(len(made))
    if how == "drop":
        del made[at]
    elif how == "insert":
        made.insert(at, made[other])
    else:
        made[at], made[other] = made[other], made[at]
    return made


def written(path: Path, data: bytes, found: Callable[[], bool]) -> Hit:
    """What is found while the file holds other bytes; None when they are the same."""
    whole = path.read_bytes()
    if data == whole:
        return None
    path.write_bytes(data)
    try:
        return found()
    finally:
        path.write_bytes(whole)


def log_file(ground: Ground | Pruned, part: str, how: str, draw: Draw) -> Hit:
    """One file of the log: an entry bundle, a hash tile, or the checkpoint."""
    if part == "checkpoint":
        path = ground.log / "checkpoint"
    else:
        level = tiles.ENTRIES if part == "entries" else draw.choice(list(tiles.levels(ground.published.size)))
        files = [ground.log / tile.path for tile in tiles.all_tiles(level, ground.published.size)]
        path = draw.choice([file for file in files if file.exists()])
    if how == "remove":
        whole = path.read_bytes()
        path.unlink()
        try:
            return ground.log_wrong()
        finally:
            path.write_bytes(whole)
    if how == "roll back":
        older = [each for each in (ground.old_log / "tile").rglob("*") if each.is_file()]
        source = ground.old_log / "checkpoint" if part == "checkpoint" else draw.choice(older)
        return written(path, source.read_bytes(), ground.log_wrong)
    data = path.read_bytes()
    if how.startswith("items: "):
        if part == "entries":
            made = tiles.bundle(reorder(tiles.scan_bundle(data)[0], how[7:], draw))
        else:
            made = b"".join(reorder(tiles.split_hashes(data), how[7:], draw))
    else:
        made = change(data, how, draw)
    return written(path, made, ground.log_wrong)


def blob(ground: Ground, how: str, draw: Draw) -> Hit:
    """A blob that rows name; swapped means: for another genuine blob."""
    named = ground.blobs()
    digest, path = draw.choice(named)
    if how == "remove":
        whole = path.read_bytes()
        path.unlink()
        try:
            return ground.blob_wrong(digest)
        finally:
            path.write_bytes(whole)
    made = draw.choice(named)[1].read_bytes() if how == "another" else change(path.read_bytes(), how, draw)
    return written(path, made, lambda: ground.blob_wrong(digest))


def bundle(ground: Ground, how: str, draw: Draw) -> Hit:
    """Bytes of a bundle, or its files, packed anew; rolled back means: a file of an older bundle in its place."""
    if how in BYTES:
        made = change(ground.bundle.read_bytes(), how, draw)
        return written(ground.bundle, made, lambda: ground.bundle_wrong(ground.bundle))
    whole, other = _files(ground.bundle), _files(ground.old_bundle)
    files = dict(whole)
    name = draw.choice(sorted(files))
    second = draw.choice(sorted(files))
    if how == "files: drop":
        del files[name]
    elif how == "files: insert":
        files[f"{name}.more"] = files[name]
    elif how == "files: swap":
        files[name], files[second] = files[second], files[name]
    else:
        name = draw.choice(sorted(files.keys() & other.keys()))
        files[name] = other[name]
    if files == whole:
        return None
    path = ground.folder / "changed.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made_zip:
        made_zip.comment = zipfile.ZipFile(ground.bundle).comment
        for each, data in fold(files).items():
            made_zip.writestr(each, data)
    return ground.bundle_wrong(path)


def _files(path: Path) -> dict[str, bytes]:
    """All of them, those of the record by their own names."""
    with zipfile.ZipFile(path) as read:
        files = {name: read.read(name) for name in read.namelist()}
    return files | unfold(files.pop(RECORD), 1 << 30)


def row(ground: Ground | Pruned, name: str, how: str, draw: Draw) -> Hit:
    """A row of a table, or the whole table set back."""
    changed: list[bool] = []

    def apply(conn: sa.Connection) -> None:
        changed.append(_change_rows(ground, conn, metadata.tables[name], how, draw))

    try:
        with ground.changed(apply) as conn:
            return ground.rows_wrong(conn) if changed[0] else None
    except sa.exc.IntegrityError:
        return None


def _change_rows(ground: Ground | Pruned, conn: sa.Connection, table: sa.Table, how: str, draw: Draw) -> bool:
    rows = [dict(found._mapping) for found in conn.execute(sa.select(table))]  # noqa: SLF001 - SQLAlchemy's public name
    if how == "roll back":
        old = ground.old_rows(table.name)
        conn.execute(sa.delete(table))
        if old:
            conn.execute(sa.insert(table), old)
        return old != rows
    if not rows:
        return False
    one, other = draw.choice(rows), draw.choice(rows)
    this = sa.and_(*(column == one[column.name] for column in table.primary_key))
    free = ground.free(table.name, one)
    if table.name == "audit_stream" and one["stream"].startswith("run/") and one["project"] is None:
        free |= {"project"}  # as of a run that is older than projects, whose events name none
    keyless = free & set(table.primary_key.columns.keys())
    if how == "drop":
        return not keyless and conn.execute(sa.delete(table).where(this)).rowcount == 1
    if how == "insert":
        made = {**one, **{column.name: _other(one[column.name], "insert", draw) for column in table.primary_key}}
        conn.execute(sa.insert(table), [made])
        return not keyless and made != one
    column = draw.choice([each.name for each in table.c if each.name not in PROVED[table.name]])
    value = other[column] if how == "swap" else _other(one[column], how, draw)
    if column in free or value == one[column] or (value is None and not table.c[column].nullable):
        return False
    conn.execute(sa.update(table).where(this).values({column: value}))
    return True


def _other(value: Any, how: str, draw: Draw) -> Any:
    if isinstance(value, int):
        return value ^ 1 << draw.randrange(16) if how in {"flip", "insert"} else value // 256
    if isinstance(value, str):
        made = change(value.encode(), how, draw)
        return bytes(byte & 0x7F or 0x21 for byte in made).decode()
    if isinstance(value, bytes):
        return change(value, how, draw)
    return draw.choice([0, "other"]) if value is None else None
