"""What the log names by digest can be shown again to the last byte, and only under the name it must have."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mandamus.audit.leaf import decode
from mandamus.evidence.model import documents
from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached, Level
from mandamus.kernel.ids import DecisionId
from mandamus.policy import model as policy
from mandamus.policy.service import Policy


def _verdict(**changed):
    data = canonical.dumps({"point": "plan"})
    said = {
        "point": policy.Point.PLAN,
        "outcome": policy.Outcome.DENY,
        "violations": (
            policy.Violation("mandamus.plan.deny", "zu groß", "a.rego", 3, "klein", {"n": Decimal("1.50"), "l": [1]}),
        ),
        "warnings": (policy.Violation("mandamus.plan.warn", "w", "b.rego", 1),),
        "requires": (policy.Requirement("platform", 2, "two of them", "mandamus.plan.require_approval", "c.rego", 9),),
        "input": data,
        "input_digest": canonical.digest(data),
        "attached": (Attached(canonical.digest(b"set"), "base", Level.SOFT, {"security": 2}),),
        "engine": "opa 1.20",
        "duration_us": 12,
        "error": "timeout: slow",
        "results": b'[{"deny":[{"n":1.50}],"set":"sha256:1"}]',
        "notes": ("worth knowing",),
        "at_us": 7,
        "spared": (policy.Violation("mandamus.plan.deny", "s", "b.rego", 2, level=Level.SOFT, exemption="exm_1"),),
        "environment": "prod",
        "notify": ("alarms",),
    }
    return policy.Verdict(**{**said, **changed})


@pytest.mark.parametrize("size", [10, 100_000], ids=["inline", "as a blob"])
def test_a_decision_read_back_has_the_digest_that_the_log_names(room, blobs, person, size):
    """All a decision says survives the database, and so does the input it was made on, also a large one."""
    scribe = room.begin().asked()
    data = canonical.dumps({"point": "plan", "padding": "x" * size})
    service = Policy(room.db, blobs, room.audit, None, room.clock, room.ids)
    with room.db.begin("test") as tx:
        verdict = _verdict(input=data, input_digest=canonical.digest(data))
        service.record(tx, person("ada"), verdict, scribe.run, "bucket")
    told = decode(room.leaves(scribe.run)[-1].bytes)["data"]
    (found,) = service.of_run(scribe.run)
    assert told["decision"] == found.id
    assert told["document"] == canonical.digest_of(found.to_json())
    assert told["input"] == canonical.digest(found.verdict.input)


def test_a_decision_document_holds_all_but_the_input():
    """Rule, file, line, remedy, requirement and raw values are in it; the input is named by its digest."""
    made = policy.Decision(DecisionId("dec_1"), None, None, _verdict()).to_json()
    assert made["violations"][0]["line"] == 3
    assert made["requires"][0]["count"] == 2
    assert made["results"] == [{"deny": [{"n": Decimal("1.50")}], "set": "sha256:1"}]
    assert "input" not in made
    fields = {name for name in policy.Verdict.__dataclass_fields__ if name != "input"}
    assert fields <= made.keys()


def _planned(attempt: int, binding: str, plan: str | None = None) -> dict:
    data = {"attempt": attempt, "change_set": "c", "artifact": "a", "binding": binding, "plan": plan}
    return {"kind": "step.planned", "step": "bucket", "data": data}


def test_documents_have_one_name_each():
    """The same document twice in an attempt is one file; another one of its kind gets a number; attempts are apart."""
    waiting = {"kind": "step.waiting", "step": "bucket", "data": {"attempt": 1, "binding": "b3"}}
    leaves = [_planned(1, "b1"), _planned(1, "b1"), _planned(1, "b2", "p"), waiting, _planned(2, "b1")]
    found = [(document.leaf, document.file) for document in documents(enumerate(leaves))]
    bindings = [(leaf, file) for leaf, file in found if "binding" in file]
    assert bindings == [
        (0, "steps/bucket.1/binding.json"),
        (1, "steps/bucket.1/binding.json"),
        (2, "steps/bucket.1/binding.2.json"),
        (3, "steps/bucket.1/binding.3.json"),
        (4, "steps/bucket.2/binding.json"),
    ]
    assert [(leaf, file) for leaf, file in found if "plan" in file] == [(2, "steps/bucket.1/plan.json")]
