"""The commands about the log's keys: what they print is what a stranger can verify with."""

from __future__ import annotations

import pytest

from mandamus.kernel.errors import Exit


@pytest.fixture
def made(bare, tmp_path, monkeypatch):
    """A home that was just made."""
    monkeypatch.chdir(tmp_path)
    assert bare("init").code == Exit.OK
    return bare


def _verified(shell, trust: str, folder: str = "log") -> int:
    return shell("audit", "verify", "--log", str(shell.home / folder), "--trust", trust, home=False).code


def test_rotate_key(made, tmp_path):
    """Both keys are printed and verify, then the new one alone does; a second finish is a conflict."""
    old = (made.home / "log" / "log.vkey").read_text().strip()
    told = made("audit", "rotate-key", "--reason", "yearly", "--overlap-days", "7")
    assert told.code == Exit.OK
    assert told.out.startswith(old)
    assert "both keys sign until" in told.err
    assert _verified(made, old) == Exit.OK
    done = made("audit", "rotate-key", "--finish", "--reason", "all have it", "--output", "json")
    (tmp_path / "trust").write_text("\n".join(done.json["trust"]))
    assert (done.json["ends_us"], len(done.json["trust"])) == (None, 2)
    assert _verified(made, old) == Exit.UNTRUSTED
    assert _verified(made, str(tmp_path / "trust")) == Exit.OK
    assert made("audit", "rotate-key", "--finish", "--reason", "again").code == Exit.FAILED
    assert made("audit", "rotate-key").code == Exit.USAGE


def test_new_epoch(made, tmp_path):
    """A home that lost its key opens again; the printed trust root verifies both logs."""
    (made.home / "keys" / "log").unlink()
    assert made("audit", "verify").code == Exit.UNTRUSTED
    assert "audit new-epoch" in made("doctor").err
    told = made("audit", "new-epoch", "--reason", "the key is lost")
    assert told.code == Exit.OK
    assert "epochs/1" in told.err
    (tmp_path / "trust").write_text(told.out)
    assert _verified(made, str(tmp_path / "trust")) == Exit.OK
    assert _verified(made, str(tmp_path / "trust"), "log/epochs/1") == Exit.OK
    assert made("audit", "verify").code == Exit.OK
    again = made("audit", "new-epoch", "--reason", "as a test", "--output", "json")
    assert again.json["origin"].endswith("/3")


def test_evidence_outlives_keys_and_logs(shell, tmp_path):
    """A bundle from before verifies with the trust root of its time and with those after a rotation and an epoch."""
    run = shell.ask(says="before").run
    bundle, trusted = tmp_path / "bundle.zip", shell.home / "log" / "log.vkey"
    assert shell("evidence", "export", run, str(bundle)).code == Exit.OK
    roots = [trusted.read_text()]
    assert shell("audit", "rotate-key", "--reason", "yearly").code == Exit.OK
    assert shell("audit", "rotate-key", "--finish", "--reason", "done").code == Exit.OK
    roots.append(trusted.read_text())
    assert shell("audit", "new-epoch", "--reason", "as a test").code == Exit.OK
    roots.append(trusted.read_text())
    for root in roots:
        (tmp_path / "trust").write_text(root)
        told = shell("evidence", "verify", str(bundle), "--trust", str(tmp_path / "trust"), home=False)
        assert told.code == Exit.OK, told
    later = shell.ask(says="after").run
    for each in (run, later):
        assert shell("evidence", "export", each, str(tmp_path / f"{each}.zip")).code == Exit.OK
        told = shell("evidence", "verify", str(tmp_path / f"{each}.zip"), "--trust", str(trusted), home=False)
        assert told.code == Exit.OK, told
    assert shell("audit", "verify").code == Exit.OK
