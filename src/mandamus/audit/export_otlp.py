"""The sink that is an OpenTelemetry collector: log records over OTLP/HTTP in JSON. A copy, never the record."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mandamus.audit import export_ocsf, tiles
from mandamus.audit.export_http import Poster
from mandamus.audit.export_model import PRODUCT, Record, line, trouble

_SEVERITY = {"ok": (9, "INFO"), "denied": (13, "WARN"), "failed": (17, "ERROR")}
_UNKNOWN = (17, "ERROR")


def request(records: Sequence[Record]) -> dict[str, Any]:
    """An ``ExportLogsServiceRequest`` in the JSON form of protobuf; 64-bit numbers are strings there."""
    resource = {"service.name": PRODUCT.lower(), "mandamus.log.origin": records[0].origin}
    scope = {"scope": {"name": "mandamus.audit"}, "logRecords": [_record(each) for each in records]}
    return {"resourceLogs": [{"resource": {"attributes": _attributes(resource)}, "scopeLogs": [scope]}]}


def _record(record: Record) -> dict[str, Any]:
    leaf = record.fields
    number, text = _SEVERITY.get(leaf["outcome"], _UNKNOWN)
    attributes: dict[str, str | int] = {
        "event.name": f"mandamus.{leaf['kind']}",
        "mandamus.leaf.index": record.index,
        "mandamus.leaf.sha256": export_ocsf.sha256(record.leaf),
        "mandamus.subject": leaf["who"]["subject"],
        "mandamus.outcome": leaf["outcome"],
        "mandamus.run": leaf["run"] or "",
    }
    at_ns = str(leaf["at"] * 1000)
    return {
        "timeUnixNano": at_ns,
        "observedTimeUnixNano": at_ns,
        "severityNumber": number,
        "severityText": text,
        "body": {"stringValue": record.leaf.decode()},
        "attributes": _attributes(attributes),
    }


def _attributes(values: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in values.items()
    ]


class Otlp:
    """Posts each batch as one request; a collector that rejects part of it has taken nothing."""

    batch = tiles.WIDTH

    def __init__(self, sink: str, poster: Poster, token: str = "") -> None:
        self._sink = sink
        self._poster = poster
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def take(self, records: Sequence[Record]) -> None:
        """See `Taker.take`."""
        answer = self._poster.post(line(request(records)).encode(), lambda: self._headers)
        try:
            partial = (json.loads(answer.body) if answer.body.strip() else {}).get("partialSuccess") or {}
            rejected = int(partial.get("rejectedLogRecords") or 0)
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise trouble(self._sink, "its answer is no OTLP answer in JSON") from error
        if rejected:
            raise trouble(self._sink, f"it rejects {rejected} records: {partial.get('errorMessage', '')}")

    def close(self) -> None:
        """See `Taker.close`."""
        self._poster.close()
