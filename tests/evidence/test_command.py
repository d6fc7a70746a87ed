"""`mandamus evidence verify` is for a stranger: no home, no database, every problem, the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mandamus.audit.signer import Signer


@pytest.fixture
def stranger(tmp_path):
    """Run the command in a process of its own with no home and an empty environment."""

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mandamus", "evidence", *words]
        return subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def proof(governed, sealed, tmp_path) -> Path:
    path = tmp_path / "proof.zip"
    path.write_bytes(sealed(governed))
    return path


def test_a_stranger_verifies_a_bundle(stranger, proof, room, governed):
    """With the key as text or as a file; data goes to standard output, talk to standard error."""
    (proof.parent / "log.vkey").write_text(room.audit.vkey + "\n")
    for trust in (room.audit.vkey, "log.vkey"):
        done = stranger("verify", proof.name, "--trust", trust)
        assert (done.returncode, done.stderr) == (0, f"{governed.run} is proved: succeeded\n")
        assert done.stdout.startswith("bundle proof.zip: ok, ")
    done = stranger("verify", proof.name, "--trust", room.audit.vkey, "--output", "json")
    told = json.loads(done.stdout)
    assert (told["outcome"], told["run"], told["state"], told["notes"]) == ("ok", governed.run, "succeeded", [])


def test_each_verdict_has_its_exit_code(stranger, proof, room, bench):
    """10 tampered, 11 incomplete, 12 untrusted; every problem stands on a line with its file and leaf."""
    files = bench.files(proof.read_bytes())
    proof.write_bytes(bench.zipped({**files, "events/4.json": b"{}", "summary.json": b"{}"}))
    done = stranger("verify", proof.name, "--trust", room.audit.vkey)
    assert done.returncode == 10
    assert "tampered: events/4.json: with its proof it is not leaf 4 of the signed log (leaf 4)" in done.stdout
    assert "tampered: summary.json: " in done.stdout
    assert "remedy" in done.stderr
    proof.write_bytes(bench.zipped({name: data for name, data in files.items() if name != "summary.json"}))
    done = stranger("verify", proof.name, "--trust", room.audit.vkey, "--output", "json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (11, "incomplete")
    done = stranger("verify", proof.name, "--trust", Signer("other", b"\1" * 32).vkey)
    assert done.returncode == 12


def test_trust_is_never_assumed(stranger, proof):
    """Without a key there is no verdict; a bundle cannot vouch for itself."""
    done = stranger("verify", proof.name)
    assert done.returncode == 2
    assert "--trust VKEY" in done.stderr
    assert stranger("verify", "nothing.zip", "--trust", "x+y").returncode == 2


def test_verification_loads_no_database(proof, room):
    """The verifier and its command import neither database, engine nor network: what is not loaded cannot be asked."""
    program = (
        "import sys; from mandamus.cli.commands import evidence_verify as evidence; from pathlib import Path;"
        f"report = evidence.verify_bundle(Path({str(proof)!r}), {room.audit.vkey!r});"
        "loaded = {name.split('.')[0] for name in sys.modules};"
        "print(report.ok, sorted(loaded & {'sqlalchemy', 'sqlite3', 'dbos', 'psycopg', 'httpx2', 'ssl', 'alembic'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"
