"""`mandamus evidence sample` and `oscal` on a real home: what they write, and what an auditor draws again."""

from __future__ import annotations

import hashlib
import json

import pytest

from mandamus.evidence.verify import verify
from mandamus.kernel.errors import Exit

PERIOD = ["--from", "2000-01-01", "--to", "2100-01-01"]


@pytest.fixture(scope="module")
def runs(shared):
    """Three runs that ended: done, failed, denied; and one that waits."""
    ended = [shared.ask(says="one").run, shared.ask(code="3").run, shared.ask(public="true").run]
    assert shared.ask(asked="true").code == Exit.WAITING
    return ended


@pytest.fixture(scope="module")
def sampled(shared, runs, tmp_path_factory):
    """A sample of two of them."""
    folder = tmp_path_factory.mktemp("sample") / "audit"
    told = shared("evidence", "sample", *PERIOD, "--n", "2", "--seed", "x", "-o", str(folder))
    assert told.code == Exit.OK, told
    assert len(runs) == 3
    return folder


def test_a_sample_is_bundles_and_one_report(shared, runs, sampled):
    """The two runs with the smallest hash, their sealed bundles, and the report as JSON and as a page."""
    drawn = sorted(runs, key=lambda run: hashlib.sha256(f"x\n{run}\n".encode()).hexdigest())[:2]
    names = {path.name for path in sampled.iterdir()}
    assert names == {f"{run}.zip" for run in drawn} | {"report.json", "report.html"}
    report = json.loads((sampled / "report.json").read_text())
    assert [one["run"] for one in report["drawn"]] == drawn
    assert [one["run"] for one in report["population"]] == sorted(runs)
    assert report["proved"] == 2
    vkey = (shared.home / "log" / "log.vkey").read_text().strip()
    assert all(verify(sampled / f"{run}.zip", vkey).ok for run in drawn)


def test_the_same_seed_draws_the_same(shared, sampled, tmp_path):
    """Again, in another folder; and never into a folder that is there."""
    words = ["evidence", "sample", *PERIOD, "--n", "2", "--seed", "x"]
    again = shared(*words, "-o", str(tmp_path / "again"), "--output", "json").json
    report = json.loads((sampled / "report.json").read_text())
    assert [one["key"] for one in again["drawn"]] == [one["key"] for one in report["drawn"]]
    assert shared(*words, "-o", str(sampled)).code == Exit.FAILED
    empty = shared("evidence", "sample", "--from", "2000-01-01", "--to", "2000-12-31", "--n", "5", "--seed", "x",
                   "-o", str(tmp_path / "empty"), "--output", "json").json  # fmt: skip
    assert (empty["population"], empty["drawn"]) == ([], [])
    assert empty["to"] == "2001-01-01T00:00:00.000000Z"


def test_another_key_proves_nothing(shared, runs, tmp_path):
    """With a key that is not the log's every drawn run is untrusted, and the exit code says so."""
    told = shared("evidence", "sample", *PERIOD, "--n", str(len(runs)), "--seed", "x", "-o", str(tmp_path / "other"),
                  "--trust", "other.log+6e9ce4f7+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs")  # fmt: skip
    assert told.code == Exit.UNTRUSTED
    assert "0 of 3 drawn runs are proved" in told.err


def test_a_bundle_that_is_gone_is_told(shell, tmp_path):
    """A run without its bundle is named in the report and the others are still drawn: exit code 11."""
    run = shell.ask(says="one").run
    other = shell.ask(says="two").run
    digest = shell("runs", "show", run, "--output", "json").json["evidence"]
    (found,) = [path for path in (shell.home / "blobs").rglob("*") if path.name.endswith(digest[-20:])]
    found.unlink()
    told = shell("evidence", "sample", *PERIOD, "--n", "9", "--seed", "x", "-o", str(tmp_path / "audit"))
    assert told.code == Exit.INCOMPLETE, told
    report = json.loads((tmp_path / "audit" / "report.json").read_text())
    outcomes = {one["run"]: one["outcome"] for one in report["drawn"]}
    assert outcomes == {run: "incomplete", other: "ok"}


def test_a_sample_becomes_oscal(shared, sampled, tmp_path):
    """A folder of bundles is one document, without a home; a broken bundle is told, and the exit code with it."""
    vkey, out = str(shared.home / "log" / "log.vkey"), tmp_path / "results.json"
    told = shared("evidence", "oscal", str(sampled), "--trust", vkey, "-o", str(out), home=False)
    assert (told.code, told.out) == (Exit.OK, f"{out}: 2 of 2 bundles are proved\n")
    assert len(json.loads(out.read_text())["assessment-results"]["results"][0]["observations"]) == 2
    broken = tmp_path / "broken.zip"
    broken.write_bytes(next(sampled.glob("*.zip")).read_bytes()[:-9])
    told = shared("evidence", "oscal", str(sampled), str(broken), "--trust", vkey, "-o", str(tmp_path / "more.json"))
    assert told.code in (Exit.TAMPERED, Exit.INCOMPLETE)
    assert "2 of 3" in told.out
    (tmp_path / "none").mkdir()
    told = shared("evidence", "oscal", str(tmp_path / "none"), "--trust", vkey, "-o", str(tmp_path / "none.json"))
    assert told.code == Exit.FAILED
    assert "no bundle" in told.err
