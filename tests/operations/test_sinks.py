"""The file of sinks: what it may say, and that nothing wrong in it is passed over or shows a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.kernel.errors import MandamusError
from mandamus.operations.sinks import LAG_MAX_DEFAULT, Form, address_of, load, read
from mandamus.secrets.model import SecretRef

WHOLE = b"""
sinks:
  archive: {files: {folder: out}}
  siem:
    syslog: {address: "siem.example.com", message: cef, ca: ca.pem, cert: me.pem, key: me.key, pen: 99}
    required: true
    lag_max: 5
    timeout: 3s
  hook: {webhook: {url: "https://example.com/in", secret: {env: HOOK}}}
  otel: {otlp: {url: "http://127.0.0.1:4318/v1/logs", token: {file: token}}}
"""


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    """Each form with its keys; relative paths stand in the file's folder."""
    sinks = read(WHOLE, "sinks.yaml", tmp_path)
    assert [sink.form for sink in sinks.values()] == [Form.FILES, Form.SYSLOG, Form.WEBHOOK, Form.OTLP]
    assert sinks["archive"].options == {"folder": str(tmp_path / "out")}
    assert (sinks["archive"].required, sinks["archive"].lag_max) == (False, LAG_MAX_DEFAULT)
    siem = sinks["siem"]
    assert (siem.required, siem.lag_max, siem.timeout_s, siem.pen) == (True, 5, 3, 99)
    assert siem.options["ca"] == str(tmp_path / "ca.pem")
    assert sinks["hook"].secret == SecretRef(env="HOOK")
    assert sinks["otel"].secret == SecretRef(file=str(tmp_path / "token"))


def test_each_declaration_has_a_digest_of_its_own(tmp_path: Path) -> None:
    """Whatever changes in a declaration changes the digest that the log records."""
    before = {name: sink.digest for name, sink in read(WHOLE, "f", tmp_path).items()}
    assert len(set(before.values())) == 4
    for old, new in ((b"lag_max: 5", b"lag_max: 6"), (b"env: HOOK", b"env: OTHER"), (b"pen: 99", b"pen: 98")):
        after = {name: sink.digest for name, sink in read(WHOLE.replace(old, new), "f", tmp_path).items()}
        assert sum(before[name] != after[name] for name in before) == 1


def test_no_file_is_no_sink(tmp_path: Path) -> None:
    """A home without the file sends its log nowhere."""
    assert load(tmp_path / "sinks.yaml") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{}", "sinks"),
        ("sinks: {A: {files: {folder: x}}}", "no name for a sink"),
        ("sinks: {a: {}}", "has no form"),
        ("sinks: {a: {files: {folder: x}, otlp: {url: 'http://x'}}}", "more than one form"),
        ("sinks: {a: {files: {}}}", "folder"),
        ("sinks: {a: {files: {folder: x, mode: 1}}}", "mode"),
        ("sinks: {a: {fils: {folder: x}}}", "fils"),
        ("sinks: {a: {syslog: {address: 'x:99999'}}}", "is no HOST:PORT"),
        ("sinks: {a: {syslog: {address: 'x/y'}}}", "is no HOST:PORT"),
        ("sinks: {a: {syslog: {address: x, message: xml}}}", "message"),
        ("sinks: {a: {syslog: {address: x, cert: me.pem}}}", "`cert` and `key`"),
        ("sinks: {a: {webhook: {url: 'ftp://x', secret: {env: A}}}}", "no http or https URL"),
        ("sinks: {a: {webhook: {url: 'https://u:p@x', secret: {env: A}}}}", "user or password"),
        ("sinks: {a: {webhook: {url: 'https://x'}}}", "needs a `secret`"),
        ("sinks: {a: {webhook: {url: 'https://x', secret: {env: A, file: b}}}}", "reference"),
        ("sinks: {a: {files: {folder: x}, lag_max: 0}}", "lag_max"),
        ("sinks: {a: {files: {folder: x}, required: maybe}}", "required"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, says: str) -> None:
    """Each mistake is an error that names it."""
    with pytest.raises(MandamusError) as caught:
        read(text.encode(), "sinks.yaml", tmp_path)
    assert says in str(caught.value.message) + str(caught.value.context)


def test_a_secret_written_by_mistake_is_not_shown(tmp_path: Path) -> None:
    """The error says that a reference belongs there, and not what stands there."""
    text = b"sinks: {a: {webhook: {url: 'https://x', secret: whsec_hunter2hunter2}}}"
    with pytest.raises(MandamusError) as caught:
        read(text, "sinks.yaml", tmp_path)
    assert "hunter2" not in str(caught.value.to_json())


def test_an_address_has_a_port_of_its_own() -> None:
    """6514 is where syslog over TLS listens; an IPv6 address stands in brackets."""
    assert address_of("siem") == ("siem", 6514)
    assert address_of("[::1]:99") == ("::1", 99)
