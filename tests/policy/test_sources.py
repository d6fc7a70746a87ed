"""A set is the same set whether it comes as a folder or as a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import signature, sources, tarball

FILES = {
    "rules.rego": 'package mandamus.plan\n\ndeny contains "no" if input.run.inputs.bad\n',
    "old.rego": "package mandamus.plan\n\nwarn[msg] { msg := data.limits.text; input.run.inputs.old }\n",
    "rules_test.rego": "package mandamus.plan_test\n\ntest_x if true\n",
    "limits/data.json": '{"text": "many", "max": 12345678901234567890123}',
}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The files of a private and a public key."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = tmp_path / "key.pem", tmp_path / "pub.pem"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_a_bundle_is_published_as_its_folder_is(policy, sqlite_database, who, write, tmp_path, pair):
    """Folder and signed bundle have one digest, which is the bundle's revision, also with Rego v0 in them."""
    folder, path = write(FILES), tmp_path / "base.tar.gz"
    with sqlite_database.begin("t") as tx:
        published = policy.publish(tx, who, policy.read(folder))
    sign = signature.read_signing_key(pair[0], "ops")
    tarball.write(policy.read(folder), path, revision=published.digest, sign=sign, older=["old.rego"])
    tree = policy.read(path, None, pair[1])
    assert tree.problems == ()
    with sqlite_database.begin("t") as tx:
        again = policy.publish(tx, who, tree)
    assert (again.digest, again.name) == (published.digest, "base")
    assert tarball.examine(path, {signature.ANY: signature.read_key(pair[1])}).manifest.revision == again.digest


def test_a_bundle_nobody_vouches_for_is_not_published(policy, sqlite_database, who, write, tmp_path, pair):
    """A key demands a signature, and a signature demands a key; a folder has none."""
    signed, unsigned = tmp_path / "signed.tar.gz", tmp_path / "unsigned.tar.gz"
    tree = policy.read(write(FILES))
    tarball.write(tree, signed, revision="r", sign=signature.read_signing_key(pair[0], "ops"))
    tarball.write(tree, unsigned, revision="r")
    for path, key in [(signed, None), (unsigned, pair[1]), (write(FILES), pair[1])]:
        found = policy.read(path, None, key)
        assert [problem.code for problem in found.problems] == ["signature_missing"]
        with sqlite_database.begin("t") as tx, pytest.raises(MandamusError) as caught:
            policy.publish(tx, who, found)
        assert caught.value.code is Code.POLICY_INVALID
        assert caught.value.message == str(found.problems[0])
    with pytest.raises(MandamusError) as caught:
        sources.read(signed, None, pair[0])
    assert caught.value.code is Code.VALUE_INVALID
