"""The in-toto statements of a bundle say what its leaves say, in the form that other tools read."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mandamus.audit.model import Verdict
from mandamus.evidence import dsse
from mandamus.evidence.model import ATTESTATIONS
from mandamus.kernel import canonical


def _statement(files, name):
    return json.loads(base64.b64decode(json.loads(files[ATTESTATIONS[name]])["payload"]))


def _signed_by_hand(envelope, public):
    """As the DSSE protocol says it, with nothing of ours."""
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"]
    pae = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])
    for signature in envelope["signatures"]:
        Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(signature["sig"]), pae)


def test_every_envelope_is_dsse(governed, sealed, bench):
    """Manifest and statements verify with the protocol's own words and the key that leaf 0 names."""
    files = bench.files(sealed(governed))
    vkey = json.loads(files["events/0.json"])["data"]["platform_key"]
    public = base64.b64decode(vkey.split("+", 2)[2])[1:]
    for name in (*ATTESTATIONS.values(), "manifest.dsse.json"):
        _signed_by_hand(json.loads(files[name]), public)
    assert json.loads(files["trust.json"])["platform"] == vkey


def test_the_verdict_of_policy_is_a_verification_summary(governed, sealed, bench):
    """The fields that SLSA asks for, on the plans as subject, with the policy's own digest."""
    files = bench.files(sealed(governed))
    told = _statement(files, "policy.vsa")
    assert (told["_type"], told["predicateType"]) == (dsse.STATEMENT, "https://slsa.dev/verification_summary/v1")
    predicate = told["predicate"]
    needed = {"verifier", "timeVerified", "resourceUri", "policy", "verificationResult", "verifiedLevels"}
    assert needed <= predicate.keys()
    assert (predicate["verificationResult"], predicate["verifiedLevels"]) == ("PASSED", ["MANDAMUS_POLICY_PASSED"])
    sha = predicate["policy"]["digest"]["sha256"]
    assert predicate["policy"]["uri"] == f"policy-bundle/{sha}.json"
    for resource in [*told["subject"], *({**a, "name": a["uri"]} for a in predicate["inputAttestations"])]:
        if resource["name"] in files:
            assert canonical.digest(files[resource["name"]]) == f"sha256:{resource['digest']['sha256']}"
    names = {resource["name"] for resource in told["subject"]}
    assert names == {
        "steps/bucket.1/change_set.json", "steps/smoke.1/change_set.json", "plan of bucket", "plan of smoke"
    }  # fmt: skip


def _denied(room, _person):
    return room.begin().asked().denied().closed("denied")


def _denied_after_the_plan(room, _person):
    scribe = room.begin().asked().admitted()
    scribe.planned()
    scribe.decided("plan", "deny", "bucket")
    scribe.finished("bucket", "denied")
    return scribe.closed("denied")


def _rejected(room, person):
    scribe = room.begin().asked().admitted()
    scribe.planned(asks=(("platform", 1),))
    scribe.waiting(asks=(("platform", 1),))
    scribe.voted(person("grace"), verdict="no")
    scribe.finished("bucket", "rejected")
    return scribe.closed("rejected")


def _failed(room, _person):
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned())
    scribe.ended(ok=False)
    scribe.finished("bucket", "failed")
    return scribe.closed("failed")


def _settled(room, person):
    scribe = room.begin().asked().admitted()
    scribe.intended(scribe.planned())
    scribe.settled("failed", by_probe=False, who=person("grace"))
    scribe.finished("bucket", "failed")
    return scribe.closed("failed")


@pytest.mark.parametrize(
    ("end", "verdict", "votes", "effects"),
    [
        (_denied, "FAILED", [], []),
        (_denied_after_the_plan, "FAILED", [], []),
        (_rejected, "FAILED", ["no"], []),
        (_failed, "PASSED", [], ["failed"]),
        (_settled, "PASSED", [], ["failed"]),
    ],
)
def test_other_ends_are_attested(room, person, sealed, bench, end, verdict, votes, effects):
    """Denied, rejected, failed and once indeterminate runs: the verdict, the votes and the effects as they were."""
    scribe = end(room, person)
    data = sealed(scribe)
    report = bench.check(data)
    assert report.ok, report.problems
    files = bench.files(data)
    assert _statement(files, "policy.vsa")["predicate"]["verificationResult"] == verdict
    assert [vote["verdict"] for vote in _statement(files, "approvals")["predicate"]["decisions"]] == votes
    change = _statement(files, "change")["predicate"]
    assert [effect["outcome"] for step in change["steps"] for effect in step["effects"]] == effects
    assert (change["state"], change["requester"]["subject"]) == (scribe.state, "ada")


@pytest.mark.parametrize("name", sorted(ATTESTATIONS))
def test_a_statement_that_says_something_else_is_found(governed, sealed, bench, platform, signer, name):
    """Also when the platform's key signed it; and one that another key signed is none."""
    files = bench.files(sealed(governed))
    file = ATTESTATIONS[name]
    told = _statement(files, name)
    lie = canonical.dumps({**told, "predicate": {**told["predicate"], "run": "run_other"}})
    for content, why in (
        (dsse.sign(dsse.IN_TOTO, lie, platform), "does not say what the leaves say"),
        (dsse.sign(dsse.IN_TOTO, canonical.dumps(told), signer), "carries no signature by"),
        (dsse.sign("text/plain", canonical.dumps(told), platform), "its payload is no"),
        (b"{}", "no DSSE envelope"),
        (b"[1]", "no DSSE envelope"),
        (files[file] + b" ", "canonical form"),
    ):
        report = bench.check(bench.forged(governed.run, {**files, file: content}))
        assert (report.outcome, [p.file for p in report.problems]) == (Verdict.TAMPERED, [file])
        assert why in report.problems[0].message


def test_a_signature_that_does_not_fit_is_found(governed, sealed, bench):
    """The key id alone proves nothing."""
    files = bench.files(sealed(governed))
    file = ATTESTATIONS["change"]
    envelope = json.loads(files[file])
    envelope["signatures"][0]["sig"] = base64.b64encode(b"\1" * 64).decode()
    report = bench.check(bench.forged(governed.run, {**files, file: canonical.dumps(envelope)}))
    assert "does not fit what it signs" in report.problems[0].message
