"""Keys that are no files: texts of the environment and commands of a KMS."""

from __future__ import annotations

import base64
import os
import stat
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mandamus.audit.keysource import CommandKey, commands_in, keys_in
from mandamus.audit.signer import SeedKey, Signer
from mandamus.kernel.errors import Code, MandamusError

SEED = b"\x05" * 32
PEM = (
    Ed25519PrivateKey.from_private_bytes(SEED).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)
OTHER_PEM = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
KMS = """
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.from_private_bytes(bytes([{seed}]) * 32)
{before}
if sys.argv[1:] == ["--public"]:
    print(base64.b64encode(key.public_key().public_bytes_raw()).decode())
else:
    print(base64.b64encode(key.sign(sys.stdin.buffer.read())).decode())
"""


@pytest.fixture
def kms(tmp_path: Path):
    """Makes a program that signs as a key service would."""

    def made(before: str = "", seed: int = 5) -> Path:
        path = tmp_path / "kms sign"
        path.write_text(f"#!{sys.executable}\n" + KMS.format(before=before, seed=seed))
        path.chmod(stat.S_IRWXU)
        return path

    return made


def _command(path: Path, timeout_s: float = 20.0) -> CommandKey:
    return CommandKey([str(path)], {"PATH": os.defpath}, timeout_s)


def test_a_text_may_be_pem_or_base64() -> None:
    """Both forms give the same key, several may stand together, and nothing at all is no key."""
    seed = base64.b64encode(SEED).decode()
    found = [key.public for key in keys_in(f"{PEM}\n{seed} {base64.b64encode(bytes(32)).decode()}\n", "X")]
    assert found == [SeedKey(SEED).public, SeedKey(SEED).public, SeedKey(bytes(32)).public]
    assert keys_in(" \n", "X") == []


@pytest.mark.parametrize("text", ["secret-but-wrong", PEM[:-40], OTHER_PEM, PEM.replace("M", "N"), "AAAA"])
def test_what_is_no_key_is_refused_unseen(text: str) -> None:
    """The message names the variable and shows nothing of what stands there."""
    with pytest.raises(MandamusError) as caught:
        keys_in(text, "MANDAMUS_LOG_KEY")
    assert caught.value.code is Code.VALUE_INVALID
    assert "MANDAMUS_LOG_KEY" in caught.value.message
    assert text.split("\n", maxsplit=1)[0] not in repr(caught.value.to_json())
    assert caught.value.__cause__ is None


def test_a_setting_is_words() -> None:
    """One command on each line, quotes keep words together, and what a shell would do is only text."""
    assert commands_in("'/opt/my kms' --key a\n\n/x $(id) ; y") == [
        ["/opt/my kms", "--key", "a"],
        ["/x", "$(id)", ";", "y"],
    ]
    with pytest.raises(MandamusError):
        commands_in("'open")


def test_a_command_signs(kms) -> None:
    """The program's signatures are those of its key."""
    signer = Signer("log.example.com", _command(kms()))
    assert signer.verifier == Signer("log.example.com", SEED).verifier
    assert signer.verifier.verify(signer.sign(b"text"), b"text")


def test_a_wrong_signature_goes_nowhere(kms) -> None:
    """A program that signs with another key than it told is not believed."""
    key = _command(kms())
    kms(seed=6)
    with pytest.raises(MandamusError) as caught:
        key.sign(b"text")
    assert caught.value.code is Code.AUDIT_UNAVAILABLE


@pytest.mark.parametrize(
    "before",
    ["sys.exit('no access\\n\\x1b[31m')", "print('?'); sys.exit(0)", "sys.exit(0)", "print('AAAA'); sys.exit(0)"],
)
def test_a_program_that_fails_is_named(kms, before: str) -> None:
    """Whatever goes wrong is one retryable error with the program's name and no control characters."""
    with pytest.raises(MandamusError) as caught:
        _command(kms(before))
    assert caught.value.code is Code.AUDIT_UNAVAILABLE
    assert caught.value.retryable
    assert "kms sign" in caught.value.message
    assert caught.value.message.isprintable()


def test_a_missing_program_is_named(tmp_path: Path) -> None:
    """The program must be there."""
    with pytest.raises(MandamusError, match="cannot be started"):
        _command(tmp_path / "nothing")


def test_a_program_that_hangs_is_ended(kms, tmp_path: Path) -> None:
    """At the limit the program and its children are killed, and nobody waits for their pipes."""
    marker = tmp_path / "child"
    before = (
        "import subprocess, time; child = subprocess.Popen(['sleep', '60']); "
        f"open({str(marker)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    with pytest.raises(MandamusError, match="did not answer"):
        _command(kms(before), timeout_s=2.0)
    if marker.exists():
        child = Path(f"/proc/{marker.read_text()}/stat")
        for _ in range(1200):
            if not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z":
                return
            threading.Event().wait(0.05)
        pytest.fail("the child of the key command lives on")
