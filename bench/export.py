"""Export: events that one CPU second writes, in each form, beside SHA-256 of the same leaves."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from figures import ROUNDS, Figure, median
from tiled import Tiled

from mandamus.audit import (
    export_cef,
    export_cloudevents,
    export_ocsf,
    export_otlp,
    export_syslog,
    standard_webhook,
    tiles,
)
from mandamus.audit.export_files import Files
from mandamus.audit.export_model import Record, line

LEAVES = 10_240
_KEY = b"\x01" * 32

Form = Callable[[Sequence[Record]], object]


def measure() -> Iterator[Figure]:
    """No sink is on the other side but a folder: what is measured is ours."""
    with tempfile.TemporaryDirectory() as folder:
        log = Tiled(Path(folder) / "log")
        log.write(LEAVES)
        found = [tiles.scan_bundle((log.folder / tile.path).read_bytes())[0] for tile in tiles.all_tiles(-1, LEAVES)]
        leaves = [leaf for bundle in found for leaf in bundle]
        rounds: dict[str, list[float]] = {}
        for number in range(ROUNDS):
            files = Files("files", Path(folder) / str(number))
            for name, form in {**_FORMS, "files, synced": files.take}.items():
                rounds.setdefault(name, []).append(_per_cpu_second(leaves, form))
    limit = median(rounds.pop(_FLOOR))
    for name, taken in rounds.items():
        yield Figure(
            f"export, {name}", median(taken), "events/cpu-s", limit=limit, limit_name="SHA-256 of the leaves alone"
        )


def _per_cpu_second(leaves: Sequence[bytes], form: Form) -> float:
    records = [Record("log.example.com/bench", index, leaf) for index, leaf in enumerate(leaves)]
    begin = time.process_time()
    for at in range(0, len(records), tiles.WIDTH):
        form(records[at : at + tiles.WIDTH])
    return len(leaves) / (time.process_time() - begin)


def _hash(records: Sequence[Record]) -> object:
    return [hashlib.sha256(each.leaf).digest() for each in records]


def _ocsf(records: Sequence[Record]) -> object:
    return [export_ocsf.encode(each) for each in records]


def _syslog(records: Sequence[Record]) -> object:
    return [export_syslog.frame(export_syslog.message(each)) for each in records]


def _cef(records: Sequence[Record]) -> object:
    return [export_syslog.frame(export_syslog.message(each, body=export_cef.encode)) for each in records]


def _webhook(records: Sequence[Record]) -> object:
    bodies = [line(export_cloudevents.cloud_event(each)).encode() for each in records]
    return [standard_webhook.sign(_KEY, "evt", 1, body) for body in bodies]


def _otlp(records: Sequence[Record]) -> object:
    return line(export_otlp.request(records)).encode()


_FLOOR = "SHA-256"
_FORMS: dict[str, Form] = {
    _FLOOR: _hash,
    "OCSF": _ocsf,
    "syslog with OCSF": _syslog,
    "syslog with CEF": _cef,
    "CloudEvents, signed": _webhook,
    "OTLP": _otlp,
}
