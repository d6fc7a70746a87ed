"""A leaf as an event of the Open Cybersecurity Schema Framework (OCSF 1.5): one table says which class a kind is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from mandamus.audit.export_model import PRODUCT, Record, line

VERSION = "1.5.0"
EVENT_LOG, FINDING, ENTITY, API = 1008, 2003, 3004, 6003

CLASSES: Mapping[str, int] = {
    "log": EVENT_LOG,
    "audit": EVENT_LOG,
    "decision": FINDING,
    "home": ENTITY,
    "environment": ENTITY,
    "identity": ENTITY,
    "project": ENTITY,
    "exemption": ENTITY,
    "policy.published": ENTITY,
}
"""The class of a kind, by its whole text or by the part before the dot; every other kind is API Activity."""

_OTHER = 99
ACTIVITIES: Mapping[str, int] = {
    "log.opened": 3,
    "log.key_rotated": 6,
    "audit.exported": 7,
    "decision.recorded": 1,
    "home.created": 1,
    "home.configured": 3,
    "policy.published": 1,
    "exemption.granted": 1,
    "exemption.ended": 4,
    "environment.applied": 3,
    "identity.applied": 3,
    "project.applied": 3,
    "run.requested": 1,
    "run.cancelled": 3,
    "run.closed": 3,
    "approval.recorded": 1,
    "evidence.sealed": 1,
    "evidence.exported": 2,
    "state.written": 3,
}
"""``activity_id`` within the class; every other kind is 99, Other, and ``activity_name`` is the kind."""

_SHA_256 = 3
_STATUS = {"ok": (1, "Success"), "denied": (2, "Failure"), "failed": (2, "Failure")}
_SEVERITY = {"ok": 1, "denied": 3, "failed": 3}
_HIGH = 4
_COMPLIANCE = {"ok": (1, "Pass"), "denied": (3, "Fail"), "failed": (3, "Fail")}


def class_of(kind: str) -> int:
    """``class_uid`` of a kind of event."""
    return CLASSES.get(kind) or CLASSES.get(kind.partition(".")[0], API)


def event(record: Record) -> dict[str, Any]:
    """The event. ``raw_data`` is the exact leaf, ``metadata.sequence`` its index: each row can be proved again."""
    leaf = record.fields
    kind, outcome, class_uid = leaf["kind"], leaf["outcome"], class_of(leaf["kind"])
    activity = ACTIVITIES.get(kind, _OTHER)
    time_ms = leaf["at"] // 1000
    status_id, status = _STATUS.get(outcome, (0, "Unknown"))
    made = {
        "activity_id": activity,
        "activity_name": kind,
        "actor": _actor(leaf["who"]),
        "category_uid": class_uid // 1000,
        "class_uid": class_uid,
        "message": f"{kind} {leaf['what']['type']} {leaf['what']['id']}",
        "metadata": {
            "correlation_uid": leaf["run"] or leaf["stream"],
            "event_code": kind,
            "log_name": record.origin,
            "log_provider": PRODUCT,
            "product": {"name": PRODUCT, "vendor_name": PRODUCT},
            "sequence": record.index,
            "uid": leaf["id"],
            "version": VERSION,
        },
        "raw_data": record.leaf.decode(),
        "raw_data_hash": {"algorithm": "SHA-256", "algorithm_id": _SHA_256, "value": sha256(record.leaf)},
        "severity_id": _SEVERITY.get(outcome, _HIGH),
        "status_detail": leaf["why"],
        "time": time_ms,
        "type_uid": class_uid * 100 + activity,
        **_of_class(class_uid, record, leaf),
    }
    return made if class_uid == FINDING else {**made, "status_id": status_id, "status": status}


def encode(record: Record) -> str:
    """The event as one line of ASCII JSON, without a line end."""
    return line(event(record))


def sha256(leaf: bytes) -> str:
    """What ``raw_data_hash`` is: SHA-256 of the leaf's bytes in hex (not the RFC 6962 leaf hash)."""
    return hashlib.sha256(leaf).hexdigest()


def _actor(who: Mapping[str, Any]) -> dict[str, Any]:
    user = {"name": who["subject"], "uid": who["subject"], "groups": [{"name": name} for name in who["groups"]]}
    return {"user": user, **({"invoked_by": who["behalf_of"]} if who["behalf_of"] else {})}


def _of_class(class_uid: int, record: Record, leaf: Mapping[str, Any]) -> dict[str, Any]:
    """What only that class has; of the address a leaf has no more than a commitment."""
    what, where = leaf["what"], leaf["where"]
    resource = {"type": what["type"], "name": what["id"], "uid": what["id"]}
    if class_uid == EVENT_LOG:
        return {"log_name": record.origin, "log_provider": PRODUCT}
    if class_uid == ENTITY:
        return {"entity": resource, "comment": leaf["why"]}
    if class_uid == FINDING:
        status_id, status = _COMPLIANCE.get(leaf["outcome"], (2, "Warning"))
        compliance = {"standards": [f"{PRODUCT} policy"], "status_id": status_id, "status": status}
        return {
            "compliance": {**compliance, "control": str(leaf["data"].get("point", ""))},
            "finding_info": {"title": leaf["kind"], "uid": str(leaf["data"].get("decision", leaf["id"]))},
            "resources": [resource],
        }
    return {
        "api": {"operation": leaf["kind"], "request": {"uid": where["request"] or leaf["id"]}},
        "resources": [resource],
        "src_endpoint": {"name": where["node"] or "unnamed"},
    }
