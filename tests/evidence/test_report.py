"""The page of a bundle tells its story to a person, and nothing in a run can make it tell another one."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

from mandamus.evidence import page
from mandamus.evidence.brief import brief
from mandamus.policy import model as policy

HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;<!--]]>\u202e\x1b[31m${7*7}javascript:"
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "span", "pre", "code"),
    *("table", "thead", "tbody", "tr", "th", "td", "ul", "li"),
}


class _Seen(HTMLParser):
    """The elements, attributes and text that a browser's tokenizer would see."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data


def _read(data: bytes) -> _Seen:
    seen = _Seen()
    seen.feed(data.decode())
    seen.close()
    # As XML, too: not one tag is left open, not one entity is loose.
    ET.fromstring(data.decode().split("\n", 1)[1])  # noqa: S314 - our own page
    return seen


@pytest.fixture
def told(sealed, bench, tmp_path):
    """Seal what a scribe has written and tell it."""

    def tell(scribe):
        path = tmp_path / "told.zip"
        path.write_bytes(sealed(scribe))
        report, found = brief(path, bench.vkey)
        assert report.ok, report.problems
        return found

    return tell


def test_the_page_tells_the_whole_story(governed, told):
    """Request, change, rules, approver with reason, effect, proof and controls, and how to check it."""
    found = told(governed)
    seen = _read(page.render(found))
    for text in (
        governed.run,
        "ada (os-user)",
        "a place for the archive",
        "bucket.bucket",
        "asks 1 of platform: by policy",
        "grace (os-user)",
        "as agreed",
        "succeeded",
        found["proof"]["sha256"],
        "mandamus evidence verify told.zip --trust log.vkey",
        "CC8.1",
    ):
        assert text in seen.text, text
    assert seen.elements <= ELEMENTS
    assert seen.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class"}
    assert "@media print" in seen.text


def test_hostile_text_stays_text(room, told, person):
    """Names, reasons, messages, addresses, errors: whatever a field holds is shown, not obeyed."""
    scribe = room.begin(makers=("ada", HOSTILE), inputs={HOSTILE: [HOSTILE, None]})
    scribe.asked(environment="dev").admitted()
    violation = policy.Violation(HOSTILE, HOSTILE, HOSTILE, 1, remedy=HOSTILE, address=HOSTILE)
    decisions = scribe.planned(asks=(("platform", 1),))
    scribe.decided("plan", "deny", "bucket", said={"violations": (violation,), "error": HOSTILE})
    scribe.waiting(asks=(("platform", 1),))
    scribe.voted(person("grace"), told=HOSTILE, reason=HOSTILE)
    scribe.finished("bucket", "rejected")
    assert decisions
    found = told(scribe.closed("rejected"))
    seen = _read(page.render(_everywhere(found)))
    assert seen.elements <= ELEMENTS
    assert not {name for name in seen.attributes if name.startswith("on")}
    assert "<script>alert(1)</script>" in seen.text
    assert "\u202e" not in seen.text
    assert "\x1b" not in seen.text


def _everywhere(value):
    """The same shape with hostile text in every string, those that the bench cannot seal included."""
    if isinstance(value, dict):
        return {key: _everywhere(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_everywhere(item) for item in value]
    return f"{HOSTILE}{value}" if isinstance(value, str) else value


def _states(room, person):
    denied = room.begin().asked().denied().closed("denied")
    rejected = room.begin().asked().admitted()
    rejected.planned(asks=(("platform", 1),))
    rejected.waiting(asks=(("platform", 1),))
    rejected.voted(person("grace"), verdict="no")
    rejected.finished("bucket", "rejected")
    unknown = room.begin().asked().admitted()
    unknown.intended(unknown.planned())
    unknown.settled("failed", by_probe=False, who=person("grace"))
    unknown.finished("bucket", "failed")
    failed = room.begin().asked().admitted()
    failed.intended(failed.planned())
    failed.ended(ok=False)
    failed.finished("bucket", "failed")
    return denied, rejected.closed("rejected"), unknown.closed("failed"), failed.closed("failed")


def test_other_ends_have_a_page(room, person, told):
    """Denied at the door: nothing planned, nobody asked, nothing applied. Rejected, settled by a person, failed."""
    denied, rejected, settled, failed = (_read(page.render(told(scribe))).text for scribe in _states(room, person))
    assert "Nobody decided on it." in denied
    assert "Nothing was applied." in denied
    assert "violation (hard-mandatory): mandamus.plan.deny, bucket.rego:7: no" in denied
    assert "Nothing was applied." in rejected
    assert "grace (os-user)no" in rejected
    assert "grace settled step bucket as failed: looked at it" in settled
    assert "step bucket: failed" in failed
    assert "1 apply" in failed


def test_the_command_writes_a_page_or_says_what_is_wrong(governed, sealed, bench, tmp_path):
    """A page once; never over another file; nothing of a bundle that is not proved."""
    path = tmp_path / "proof.zip"
    path.write_bytes(sealed(governed))

    def call(*words):
        command = [sys.executable, "-m", "mandamus", "evidence", "report", "proof.zip", *words]
        return subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    done = call("--trust", bench.vkey)
    assert (done.returncode, done.stdout) == (0, f"proof.html: {governed.run}, succeeded\n")
    _read((tmp_path / "proof.html").read_bytes())
    assert call("--trust", bench.vkey).returncode == 1
    done = call("--trust", bench.vkey, "--output", "json")
    assert json.loads(done.stdout)["approvals"][0]["by"] == "grace"
    files = bench.files(path.read_bytes())
    path.write_bytes(bench.zipped({**files, "summary.json": b"{}"}))
    done = call("--trust", bench.vkey, "-o", "other.html")
    assert (done.returncode, (tmp_path / "other.html").exists()) == (10, False)
