"""The trust root: several keys, each for the sizes of its time."""

from __future__ import annotations

import contextlib

import pytest

from mandamus.audit import note
from mandamus.audit.signer import Signer
from mandamus.audit.trust import parse_trust
from mandamus.kernel.errors import Code, MandamusError

ROOT = b"\x01" * 32


@pytest.fixture
def newer(signer: Signer) -> Signer:
    return Signer(signer.name, b"\x0a" * 32)


def test_one_line_is_a_trust_root(signer: Signer) -> None:
    """A log.vkey of one line holds for every size, and a trust root reads back what it wrote."""
    trust = parse_trust(f"{signer.vkey}\n")
    assert trust.text == signer.vkey
    assert note.read_checkpoint(note.sign_checkpoint(signer, 10**6, ROOT).note, trust).size == 10**6


@pytest.mark.parametrize(
    ("size", "signs", "code"),
    [
        (0, ["old"], None),
        (9, ["old"], None),
        (9, ["old", "new"], None),
        (10, ["old", "new"], None),
        (10, ["new"], None),
        (20, ["old"], None),
        (21, ["old"], Code.AUDIT_UNTRUSTED),
        (21, ["old", "new"], None),
        (9, ["new"], Code.AUDIT_UNTRUSTED),
        (21, ["other"], Code.AUDIT_UNTRUSTED),
        (15, ["other", "new"], None),
        (15, ["old", "forged"], Code.AUDIT_TAMPERED),
    ],
)
def test_a_key_is_trusted_in_its_time(signer, newer, size: int, signs: list[str], code: Code | None) -> None:
    """One trusted key that signs a size of its time is enough; a bad signature by any trusted key is tampering."""
    trust = parse_trust(f"# our log\n{signer.vkey} until=20\n\n{newer.vkey} from=10\n")
    signers = {"old": signer, "new": newer, "other": Signer(signer.name, b"\x0b" * 32)}
    made = note.sign_checkpoint([signers[name] for name in signs if name != "forged"], size, ROOT).note
    if "forged" in signs:
        made += note.sign_checkpoint(newer, size + 1, ROOT).note.split(b"\n\n")[1]
    with contextlib.ExitStack() as refused:
        caught = refused.enter_context(pytest.raises(MandamusError)) if code else None
        assert note.read_checkpoint(made, trust).size == size
    assert (caught.value.code if caught else None) is code


@pytest.mark.parametrize("text", ["", "# nobody\n", "x", "VKEY from=-1", "VKEY from=", "VKEY until=x", "VKEY since=1",
                                  "VKEY from=٣", "VKEY\nVKEY from=2", "VKEY VKEY"])  # fmt: skip
def test_anything_else_is_no_trust_root(signer: Signer, text: str) -> None:
    """A trust root is read exactly: what is not understood is not trusted."""
    with pytest.raises(MandamusError) as caught:
        parse_trust(text.replace("VKEY", signer.vkey))
    assert caught.value.code is Code.AUDIT_UNTRUSTED
