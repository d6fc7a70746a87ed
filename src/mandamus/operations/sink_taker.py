"""Makes what writes to a declared sink; apart from the verbs because TLS and HTTP are slow to import."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mandamus.audit import export_cef, export_ocsf
from mandamus.audit.export_cloudevents import Webhook
from mandamus.audit.export_files import Files
from mandamus.audit.export_http import Poster
from mandamus.audit.export_model import Taker
from mandamus.audit.export_otlp import Otlp
from mandamus.audit.export_syslog import Server, Syslog
from mandamus.kernel.clock import Clock
from mandamus.operations.sinks import Form, Sink, address_of
from mandamus.secrets.service import Secrets


def open_taker(secrets: Secrets, clock: Clock, pause: Callable[[float], None], sink: Sink) -> Taker:
    """The sink, ready to take; ``pause`` waits so many seconds. Raises ``secret_missing`` and ``audit_unavailable``."""
    options, timeout_s = sink.options, float(sink.timeout_s)
    secret = secrets.resolve({sink.name: sink.secret})[sink.name] if sink.secret else ""
    if sink.form is Form.FILES:
        return Files(sink.name, Path(options["folder"]))
    if sink.form is Form.SYSLOG:
        host, port = address_of(options["address"])
        server = Server(host, port, options.get("ca", ""), options.get("cert", ""), options.get("key", ""))
        body = export_cef.encode if options.get("message") == "cef" else export_ocsf.encode
        return Syslog(sink.name, server, timeout_s, sink.pen, body)
    poster = Poster(sink.name, options["url"], timeout_s, pause, options.get("ca", ""))
    if sink.form is Form.OTLP:
        return Otlp(sink.name, poster, secret)
    return Webhook(sink.name, poster, secret, clock)
