"""``mandamus policy bundle``: a set goes out as a bundle and comes back, and what is wrong with one is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mandamus.kernel.errors import Exit

RULE = """package mandamus.plan

deny contains "no" if input.run.inputs.public
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set in a folder, with keys beside it."""
    made = tmp_path / "base"
    made.mkdir()
    (made / "rules.rego").write_text(RULE)
    (made / "data.json").write_text('{"limit": 3}')
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (tmp_path / "pub.pem").write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return made


def test_a_signed_bundle_goes_out_and_is_verified(bare, folder, tmp_path):
    """The folder is checked and packed; whoever has the public key sees that it is whole. No home is made."""
    file = tmp_path / "base.tar.gz"
    told = bare(
        "policy", "bundle", str(folder), "-o", str(file), "--sign", str(tmp_path / "key.pem"), "--key-id", "ops"
    )
    assert told.code == Exit.OK, told
    assert told.out.startswith(f"{file}: sha256:")
    assert told.out.rstrip().endswith("signed")
    told = bare("policy", "bundle", "verify", str(file), "--key", str(tmp_path / "pub.pem"))
    assert (told.code, told.out) == (Exit.OK, f"{file}: ok, 2 files, signed by ops\n")
    told = bare("policy", "bundle", "verify", str(file), "--key", str(tmp_path / "pub.pem"), "--output", "json")
    found = told.json
    assert (found["ok"], found["signed_by"], found["roots"]) == (True, "ops", ["limit", "mandamus/plan"])
    assert found["files"] == ["data.json", "rules.rego"]
    assert not bare.home.exists()


def test_a_bundle_is_packed_again_as_it_was(bare, folder, tmp_path):
    """A bundle can stand where a folder can, and the revision of the same set is the same."""
    first, second = tmp_path / "first.tar.gz", tmp_path / "second.tar.gz"
    assert bare("policy", "bundle", "write", str(folder), "-o", str(first)).code == Exit.OK
    assert bare("policy", "bundle", str(first), "-o", str(second)).code == Exit.OK
    assert first.read_bytes() == second.read_bytes()
    told = bare("policy", "bundle", str(folder), "-o", str(first))
    assert told.code == Exit.FAILED
    assert "exists already" in told.err


def test_rego_v0_is_packed_as_such(bare, folder, tmp_path):
    """OPA is told which modules are Rego v0, and their text is as it was written."""
    old = "package mandamus.plan\n\ndeny[msg] { msg := data.limit; input.run.inputs.old }\n"
    (folder / "old.rego").write_text(old)
    file = tmp_path / "base.tar.gz"
    told = bare("policy", "bundle", str(folder), "-o", str(file))
    assert told.code == Exit.OK, told
    told = bare("policy", "bundle", str(file), "-o", str(tmp_path / "again.tar.gz"))
    assert told.code == Exit.OK, told
    assert file.read_bytes() == (tmp_path / "again.tar.gz").read_bytes()


def test_what_is_wrong_has_an_exit_code(bare, folder, tmp_path):
    """10 for a bundle that is not as signed, 12 where nobody can tell, 2 for what is no bundle."""
    file = tmp_path / "base.tar.gz"
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "other.pem").write_bytes(
        other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    bare("policy", "bundle", str(folder), "-o", str(file), "--sign", str(tmp_path / "key.pem"), "--key-id", "ops")
    told = bare("policy", "bundle", "verify", str(file), "--key", str(tmp_path / "other.pem"))
    assert told.code == Exit.TAMPERED
    assert "not by the key 'ops'" in told.out
    assert bare("policy", "bundle", "verify", str(file)).code == Exit.UNTRUSTED
    file.write_bytes(b"hello")
    assert bare("policy", "bundle", "verify", str(file)).code == Exit.USAGE


def test_nothing_is_written_of_a_bad_set(bare, folder, tmp_path):
    """A set that would not be published is not exchanged; a signature needs the name of its key."""
    file = tmp_path / "base.tar.gz"
    told = bare("policy", "bundle", str(folder), "-o", str(file), "--sign", str(tmp_path / "key.pem"))
    assert told.code == Exit.USAGE
    assert "--key-id" in told.err
    (folder / "rules.rego").write_text(RULE + "\ndeny contains {")
    told = bare("policy", "bundle", str(folder), "-o", str(file))
    assert told.code == Exit.USAGE
    assert "rules.rego:5" in told.err
    assert not file.exists()
