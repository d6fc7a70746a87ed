"""Bundles as OSCAL assessment results (NIST, JSON): an observation for each bundle, a finding for each control.

The controls are those of NIST SP 800-53; other frameworks have no identifiers in OSCAL and are properties of the
observations. Everything is derived from the bundles, identifiers and times included: the same give the same bytes.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mandamus.evidence.controls import CONTROLS, Control
from mandamus.kernel import canonical

VERSION = "1.2.1"
NAMESPACE = "urn:mandamus:oscal"

_ROOT = uuid.uuid5(uuid.NAMESPACE_URL, NAMESPACE)
_ENHANCEMENT = re.compile(r"\((\d+)\)")
_EPOCH = "1970-01-01T00:00:00Z"
_CATALOG = "NIST SP 800-53"
_REMARKS = (
    "Satisfied means: every bundle was verified against the trusted log, and its leaves show what this control asks "
    "for. Whether the control is met is the assessor's word."
)


@dataclass(frozen=True)
class Seen:
    """A bundle that was looked at: file name, SHA-256 (hex), what is wrong with it, what it tells when it is proved."""

    file: str
    sha256: str
    problems: Sequence[str]
    told: Mapping[str, Any] | None


def results(seen: Sequence[Seen], origin: str) -> bytes:
    """The document; ``origin`` is the log's name."""
    whole = "".join(sorted(one.sha256 for one in seen))
    plan = _id("plan", origin)
    times = [one.told["closed"] for one in seen if one.told is not None] or [_EPOCH]
    starts = [one.told["requested"] for one in seen if one.told is not None] or [_EPOCH]
    controls = [control for control in CONTROLS if control.framework == _CATALOG]
    result = {
        "uuid": _id("result", whole),
        "title": f"Evidence of {len(seen)} runs",
        "description": f"Bundles of the log {origin}, each verified offline from its bytes.",
        "start": min(starts),
        "end": max(times),
        "reviewed-controls": {
            "control-selections": [{"include-controls": [{"control-id": control_id(one)} for one in controls]}]
        },
        "observations": [_observation(one, max(times)) for one in seen],
        "findings": [_finding(control, seen, whole) for control in controls],
    }
    document = {
        "uuid": _id("document", whole),
        "metadata": {
            "title": f"Assessment results of {origin}",
            "last-modified": max(times),
            "version": "1",
            "oscal-version": VERSION,
        },
        "import-ap": {"href": f"#{plan}", "remarks": "No assessment plan in OSCAL; see the resource."},
        "results": [result],
        "back-matter": {
            "resources": [
                {
                    "uuid": plan,
                    "title": "How the bundles were assessed",
                    "description": "Each bundle: mandamus evidence verify FILE --trust log.vkey",
                }
            ]
        },
    }
    return canonical.dumps({"assessment-results": document})


def control_id(control: Control) -> str:
    """As the OSCAL catalogue of NIST SP 800-53 writes it: ``CM-5(1)`` is ``cm-5.1``."""
    return _ENHANCEMENT.sub(r".\1", control.id).lower()


def _observation(one: Seen, collected: str) -> dict[str, Any]:
    told = one.told
    if told is None:
        description = f"{one.file} is not proved: {'; '.join(one.problems)}"
    else:
        votes = ", ".join(f"{vote['by']} said {vote['verdict']}" for vote in told["approvals"]) or "nobody was asked"
        description = (
            f"{told['run']} of {told['workflow']} in {told['environment']}, asked by {told['requester']['user']}, "
            f"ended {told['state']}; {votes}."
        )
    props = [{"name": "proved", "ns": NAMESPACE, "value": "no" if told is None else "yes"}]
    if told is not None:
        props += [_prop("run", told["run"]), _prop("state", told["state"])]
        props += [_prop("control", f"{row['framework']} {row['id']}") for row in told["controls"]]
    return {
        "uuid": _id("observation", one.sha256, one.file),
        "title": f"Evidence {one.file}",
        "description": description,
        "props": props,
        "methods": ["EXAMINE"],
        "types": ["finding"],
        "relevant-evidence": [{"href": one.file, "description": f"Evidence bundle, SHA-256 {one.sha256}"}],
        "collected": collected if told is None else told["closed"],
    }


def _finding(control: Control, seen: Sequence[Seen], whole: str) -> dict[str, Any]:
    proved = bool(seen) and all(one.told is not None for one in seen)
    named = control_id(control)
    return {
        "uuid": _id("finding", whole, named),
        "title": f"{control.id}: {control.requires}",
        "description": f"Shown by {', '.join(fact.word for fact in control.facts)} in each bundle.",
        "target": {
            "type": "objective-id",
            "target-id": f"{named}_obj",
            "status": {"state": "satisfied" if proved else "not-satisfied", "remarks": _REMARKS},
        },
        "related-observations": [{"observation-uuid": _id("observation", one.sha256, one.file)} for one in seen],
    }


def _prop(name: str, value: str) -> dict[str, str]:
    return {"name": name, "ns": NAMESPACE, "value": value}


def _id(*parts: str) -> str:
    return str(uuid.uuid5(_ROOT, "\n".join(parts)))
