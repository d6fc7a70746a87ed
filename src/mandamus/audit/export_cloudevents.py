"""The sink that is a webhook: one CloudEvent per POST in structured mode, signed as Standard Webhooks says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mandamus.audit import export_ocsf
from mandamus.audit.export_http import Poster
from mandamus.audit.export_model import Record, line, trouble
from mandamus.audit.standard_webhook import envelope, key_of, signed
from mandamus.kernel.clock import Clock


def cloud_event(record: Record) -> dict[str, Any]:
    """The event of a leaf, by its index in the log; its ``data`` is the event in OCSF, with the exact leaf in it."""
    index = record.index
    made = envelope(record.fields, record.origin, f"{record.origin}/{index}", export_ocsf.event(record))
    return {**made, "sequence": f"{index:020d}"}


class Webhook:
    """Posts one event after the other; the next one goes out when the one before was taken."""

    batch = 8

    def __init__(self, sink: str, poster: Poster, secret: str, clock: Clock) -> None:
        try:
            self._key = key_of(secret)
        except ValueError as error:
            raise trouble(sink, str(error)) from error
        self._poster = poster
        self._clock = clock

    def take(self, records: Sequence[Record]) -> None:
        """See `Taker.take`. A repeated event has the same ``webhook-id``, by which a receiver knows it."""
        for record in records:
            body = line(cloud_event(record)).encode()
            name = record.fields["id"]

            def headers(name: str = name, body: bytes = body) -> dict[str, str]:
                return signed([self._key], name, self._clock.now_us() // 1_000_000, body)

            self._poster.post(body, headers)

    def close(self) -> None:
        """See `Taker.close`."""
        self._poster.close()
