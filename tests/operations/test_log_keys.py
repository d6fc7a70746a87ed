"""A home whose keys are elsewhere: in the environment, or with a program that signs."""

from __future__ import annotations

import base64
import os
import stat
import sys
from pathlib import Path

import pytest

from mandamus.audit import note
from mandamus.audit.signer import SeedKey, parse_vkey
from mandamus.audit.trust import parse_trust
from mandamus.bootstrap.house import House, open_house
from mandamus.kernel.errors import Code, MandamusError
from mandamus.secrets.model import SecretRef
from mandamus.settings import Settings

LOG, PLATFORM = b"\x11" * 32, b"\x12" * 32
KMS = """#!{python}
import base64, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
key = Ed25519PrivateKey.from_private_bytes(bytes([0x13]) * 32)
made = key.public_key().public_bytes_raw() if sys.argv[1:] == ["--public"] else key.sign(sys.stdin.buffer.read())
print(base64.b64encode(made).decode())
"""


def _open(home: Path, **settings: str) -> House:
    environ = {**os.environ, **{f"MANDAMUS_{name.upper()}": value for name, value in settings.items()}}
    return open_house(Settings(**settings), environ, home, None)  # type: ignore[arg-type]


def _given() -> dict[str, str]:
    return {"log_key": base64.b64encode(LOG).decode(), "platform_key": base64.b64encode(PLATFORM).decode()}


def test_given_keys_are_no_files(home: Path) -> None:
    """A home made with both keys in the environment keeps neither, and does not open without them."""
    house = _open(home, **_given())
    assert parse_vkey(house.audit.vkey).public == SeedKey(LOG).public
    assert house.rooms.signer.verifier.public == SeedKey(PLATFORM).public
    assert house.audit.verify(house.who).ok
    house.close()
    assert not {"log", "platform"} & {path.name for path in (home / "keys").iterdir()}
    for missing in _given():
        with pytest.raises(MandamusError) as caught:
            _open(home, **{name: value for name, value in _given().items() if name != missing})
        assert caught.value.code is Code.AUDIT_UNTRUSTED


def test_no_step_can_ask_for_a_key(home: Path) -> None:
    """The key's variable is no secret that a platform file could hand to a step."""
    house = _open(home, **_given())
    with pytest.raises(MandamusError) as caught:
        house.rooms.secrets.resolve({"K": SecretRef(env="MANDAMUS_LOG_KEY")})
    house.close()
    assert caught.value.code is Code.SECRET_MISSING


def test_from_a_file_to_a_key_service(home: Path, tmp_path: Path) -> None:
    """The program's key follows the file's; when both have signed for a while it signs alone, and the file may go."""
    program = tmp_path / "sign it"
    program.write_text(KMS.format(python=sys.executable))
    program.chmod(stat.S_IRWXU)
    command = {"log_key_command": f"'{program}'"}
    _open(home).close()
    house = _open(home, **command)
    assert len(parse_trust(house.audit.vkey).keys) == 1
    house.log_keys.rotate(house.who, "to the service")
    house.log_keys.finish(house.who, "all have it")
    house.close()
    (home / "keys" / "log").unlink()
    house = _open(home, **command)
    trust = parse_trust(house.audit.vkey)
    house.close()
    published = (home / "log" / "checkpoint").read_bytes()
    assert trust.newest.public == SeedKey(b"\x13" * 32).public
    assert [line.key_id for line in note.parse(published).signatures] == [trust.newest.key_id]
    assert note.read_checkpoint(published, trust).size >= 4


def test_a_rotation_makes_the_next_file(home: Path) -> None:
    """Without any other source the home makes the new key itself, and opens with the old file gone once it retired."""
    house = _open(home)
    house.log_keys.rotate(house.who, "yearly")
    house.log_keys.finish(house.who, "done")
    house.close()
    assert {"log", "log.2"} <= {path.name for path in (home / "keys").iterdir()}
    (home / "keys" / "log").unlink()
    house = _open(home)
    house.log_keys.rotate(house.who, "again")
    house.close()
    assert {"log.2", "log.3"} <= {path.name for path in (home / "keys").iterdir()}
