"""What a leaf looks like on its way out: each form is complete, is one record, and can be compared with the leaf."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from mandamus.audit import export_cef, export_cloudevents, export_ocsf, export_otlp, export_syslog, standard_webhook
from mandamus.audit.export_model import Record, visible
from mandamus.audit.export_reconcile import read_line
from mandamus.audit.kinds import Kind

ORIGIN = "log.example.com/home"
NASTY = (
    "a\nb\r\nc\x00\x07\x1b[31mred\x1b[0m\x7f\x85\u2028\u2029\u202edrowssap\u2066\u200b\ufeff"
    '<34>1 2026-01-01T00:00:00Z h a - - [audit@32473 idx="0" leaf="00"] forged |=\\"]} {"metadata":1} \U0001f480'
)

REQUIRED = {
    "every": {"activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid"},
    1008: {"log_name"},
    2003: {"compliance", "finding_info"},
    3004: {"entity"},
    6003: {"actor", "api", "src_endpoint"},
}
"""Required attributes by class, as the schema's events/*.json say (of Event Log Activity: at least one of three)."""

REQUIRED_INSIDE: dict[str, set[str]] = {
    "metadata": {"product", "version"},
    "raw_data_hash": {"algorithm_id", "value"},
    "compliance": {"standards"},
    "finding_info": {"uid", "title"},
    "api": {"operation"},
}
ANY_INSIDE = {
    "actor": {"process", "user", "session", "app_name"},
    "src_endpoint": {"ip", "uid", "name", "hostname"},
    "entity": {"name", "uid"},
}
"""Objects of which at least one attribute must be there."""

Leaf = Callable[..., bytes]


def _record(leaf: Leaf, index: int = 7, **fields: object) -> Record:
    return Record(ORIGIN, index, leaf("run/1", 0, None, **fields))


def _nasty(leaf: Leaf) -> Record:
    who = {"subject": NASTY, "authn": NASTY, "behalf_of": NASTY, "groups": [NASTY], "name": None}
    what, where = {"type": NASTY, "id": NASTY}, {"address": None, "agent": NASTY, "node": NASTY, "request": NASTY}
    fields: dict[str, Any] = {"who": who, "what": what, "where": where, "why": NASTY, "data": {"decision": NASTY}}
    return _record(leaf, run=NASTY, **fields)


@pytest.mark.parametrize("outcome", ["ok", "denied", "failed", "unknown"])
@pytest.mark.parametrize("kind", [kind.text for kind in Kind])
def test_every_kind_is_a_whole_ocsf_event(leaf, kind, outcome):
    """Each kind has a class, and the event has every attribute that the class and its objects require."""
    event = export_ocsf.event(_record(leaf, kind=kind, outcome=outcome))
    class_uid = event["class_uid"]
    assert REQUIRED["every"] | REQUIRED[class_uid] <= event.keys()
    assert event["category_uid"] == class_uid // 1000
    assert event["type_uid"] == class_uid * 100 + event["activity_id"]
    for name, wanted in REQUIRED_INSIDE.items():
        assert name not in event or wanted <= event[name].keys(), name
    for name, some in ANY_INSIDE.items():
        assert name not in event or any(event[name].get(key) for key in some), name
    assert event["activity_id"] == 99 or kind in export_ocsf.ACTIVITIES


def test_the_table_names_kinds_that_there_are():
    """Nothing in the mapping is of a kind that nobody records."""
    kinds = {kind.text for kind in Kind}
    domains = {kind.partition(".")[0] for kind in kinds}
    assert kinds >= export_ocsf.ACTIVITIES.keys()
    assert kinds | domains >= export_ocsf.CLASSES.keys()


def test_a_row_can_be_proved_again(leaf):
    """Exact leaf, its hash, its index, its log and its run are in the event."""
    record = _record(leaf, run="run_1")
    event = json.loads(export_ocsf.encode(record))
    assert event["raw_data"].encode() == record.leaf
    assert event["raw_data_hash"]["value"] == hashlib.sha256(record.leaf).hexdigest()
    metadata = event["metadata"]
    assert (metadata["sequence"], metadata["log_name"], metadata["correlation_uid"]) == (7, ORIGIN, "run_1")


FORMS: dict[str, Callable[[Record], str]] = {
    "ocsf": export_ocsf.encode,
    "cef": export_cef.encode,
    "syslog": lambda record: export_syslog.message(record).decode("ascii"),
    "syslog-cef": lambda record: export_syslog.message(record, body=export_cef.encode).decode("ascii"),
}


@pytest.mark.parametrize("form", FORMS)
def test_hostile_text_stays_one_printable_record(leaf, form):
    """No control character, escape sequence, line separator or direction mark of a leaf reaches a sink as itself."""
    text = FORMS[form](_nasty(leaf))
    assert text.isascii()
    assert text.isprintable()


@pytest.mark.parametrize("form", ["ocsf", "syslog", "syslog-cef"])
def test_hostile_text_is_read_back_as_the_leaf_it_was(leaf, form):
    """A forged record inside a field changes neither index nor hash of what is read."""
    record = _nasty(leaf)
    found = read_line(FORMS[form](record).encode())
    assert found is not None
    assert (found.origin, found.index, found.sha256) == (ORIGIN, 7, hashlib.sha256(record.leaf).hexdigest())


def test_a_syslog_message_has_the_fields_of_rfc_5424(leaf):
    """Priority, version, time, host, program, kind and structured data stand where a parser looks for them."""
    where = {"address": None, "agent": None, "node": "n 1", "request": None}
    text = export_syslog.message(_record(leaf, outcome="denied", where=where, at=1_000_001), pen=99).decode()
    pattern = (
        r"<108>1 1970-01-01T00:00:01\.000001Z n_1 mandamus - step\.planned "
        r'\[audit@99 idx="7" leaf="[0-9a-f]{64}" origin="log\.example\.com/home"\] \{.*\}'
    )
    assert re.fullmatch(pattern, text)
    assert export_syslog.frame(b"abc") == b"3 abc"
    odd = export_syslog.message(Record('o"x]\\y', 1, _record(leaf).leaf)).decode()
    assert r'origin="o\"x\]\\y"] {' in odd


def test_a_cef_line_splits_where_it_says(leaf):
    """Seven unescaped bars end the header, and every value is read back as it was, up to JSON's escapes."""
    text = export_cef.encode(_nasty(leaf))
    found = re.fullmatch(r"(?:(?:[^\\|]|\\.)*\|){7}(.*)", text)
    assert found is not None
    values = dict(re.findall(r"(\w+)=((?:[^\\=]|\\.)*?)(?= \w+=|$)", found[1]))
    assert values["cn1"] == "7"
    assert values["reason"].count("forged") == 1
    plain = export_cef.encode(_record(leaf, why="a=b c\\d"))
    assert r"reason=a\=b c\\d " in plain


def test_a_cloud_event_has_its_required_attributes(leaf):
    """specversion, id, source and type are there; the id is the leaf's place, so a repeated event is the same one."""
    made = export_cloudevents.cloud_event(_record(leaf))
    assert {"specversion", "id", "source", "type"} <= made.keys()
    assert (made["id"], made["source"], made["type"]) == (f"{ORIGIN}/7", ORIGIN, "mandamus.step.planned")


def test_an_otlp_request_is_as_protobuf_writes_json(leaf):
    """64-bit numbers are texts, the body is the exact leaf, and the origin is the resource's."""
    record = _record(leaf, at=5)
    made = export_otlp.request([record])
    logs = made["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert logs[0]["timeUnixNano"] == "5000"
    assert logs[0]["body"] == {"stringValue": record.leaf.decode()}
    assert {"key": "mandamus.leaf.index", "value": {"intValue": "7"}} in logs[0]["attributes"]


def test_a_signature_is_that_of_standard_webhooks():
    """The example of the specification: secret, id, time and body give its signature."""
    key = standard_webhook.key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    name, at_s = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    signed = standard_webhook.sign(key, name, at_s, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    headers = {"webhook-id": name, "webhook-timestamp": str(at_s), "webhook-signature": f"v1,AAAA {signed}"}
    assert standard_webhook.genuine(key, headers, body, at_s + 300)
    assert not standard_webhook.genuine(key, headers, body, at_s + 301)
    assert not standard_webhook.genuine(key, headers, body + b" ", at_s)
    assert not standard_webhook.genuine(key, {**headers, "webhook-id": "msg_2"}, body, at_s)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!", "x" * 200])
def test_a_secret_that_is_none_is_refused_unseen(secret):
    """The error of a bad secret never shows it."""
    with pytest.raises(ValueError, match="the secret") as caught:
        standard_webhook.key_of(secret)
    assert not secret or secret not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_a_sink_says_is_shown_without_harm():
    """A stranger's answer moves no cursor of whoever reads the error."""
    assert visible(NASTY).isascii()
    assert visible(NASTY).isprintable()
    assert json.loads(f'"{visible(NASTY)}"') == NASTY
