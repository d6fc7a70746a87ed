"""The policy file of witnesses, in the form of c2sp.org/tlog-policy."""

from __future__ import annotations

import itertools

import pytest

from mandamus.audit.cosign import Cosigner
from mandamus.audit.quorum import QuorumPolicy, parse_policy
from mandamus.audit.signer import Signer
from mandamus.kernel.errors import Code, MandamusError

LOG = Signer("log.example.com/a", b"\x01" * 32)
NAMES = ("X1", "X2", "X3", "Y1", "Y2", "Y3")


def _vkey(seed: int, name: str = "") -> str:
    signer = Signer(name or f"w{seed}.example.com", bytes([seed]) * 32)
    return Cosigner(signer.name, signer.verifier.public).vkey


KEYS = {name: _vkey(seed) for seed, name in enumerate(NAMES, start=10)}
EXAMPLE = f"""
# The example of the specification.
log {LOG.vkey}

witness X1 {KEYS["X1"]}
\twitness   X2\t{KEYS["X2"]}   https://x2.example.com/submit
witness X3 {KEYS["X3"]}
group X-witnesses 2 X1 X2 X3

witness Y1 {KEYS["Y1"]}
witness Y2 {KEYS["Y2"]}
witness Y3 {KEYS["Y3"]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def _read(text: str) -> QuorumPolicy:
    return parse_policy(text.encode())


def test_the_example_of_the_specification() -> None:
    """Two of the X and one of the Y, in every combination."""
    policy = _read(EXAMPLE)
    assert policy.logs[0].verifier == LOG.verifier
    assert policy.witnesses[1].url == "https://x2.example.com/submit"
    for count in range(len(NAMES) + 1):
        for names in itertools.combinations(NAMES, count):
            enough = sum(name[0] == "X" for name in names) >= 2 and any(name[0] == "Y" for name in names)
            assert policy.met(names) == enough, names


def test_the_simplest_quorums() -> None:
    """Nobody, and one witness."""
    assert _read("quorum none\n").met([])
    one = _read(f"witness X {KEYS['X1']}\nquorum X")
    assert one.met(["X"])
    assert not one.met([])


def test_bytes_beyond_ascii_are_opaque() -> None:
    """A name may be any bytes; what only looks alike is another name."""
    kelvin = f"witness \u212a {KEYS['X1']}\nwitness K {KEYS['X2']}\nquorum \u212a\n"
    assert not _read(kelvin).met(["K"])
    assert parse_policy(b"witness \xff " + KEYS["X1"].encode() + b"\n# \xfe\nquorum \xff\n").witnesses


ONE = f"witness X {KEYS['X1']}\n"
WRONG = {
    "no quorum": ONE,
    "two quorums": ONE + "quorum X\nquorum X\n",
    "quorum of nobody": ONE + "quorum Y\n",
    "quorum before its witness": "quorum X\n" + ONE,
    "unknown word": ONE + "quorum X\nsurprise\n",
    "name taken": ONE + f"witness X {KEYS['X2']}\nquorum X\n",
    "key taken": ONE + f"witness Y {_vkey(10, 'other.example.com')}\nquorum X\n",
    "log's key taken": f"log {LOG.vkey}\nlog {Signer('other', bytes([1]) * 32).vkey}\nquorum none\n",
    "none as a name": f"witness none {KEYS['X1']}\nquorum none\n",
    "none as a member": ONE + "group G any none\nquorum G\n",
    "empty group": ONE + "group G any\nquorum G\n",
    "too many needed": ONE + "group G 2 X\nquorum G\n",
    "none needed": ONE + "group G 0 X\nquorum G\n",
    "not decimal": ONE + "group G one X\nquorum G\n",
    "member of two groups": ONE + "group G any X\ngroup H any X\nquorum G\n",
    "member twice": ONE + "group G 2 X X\nquorum G\n",
    "later member": ONE + f"group G any Y\nwitness Y {KEYS['X2']}\nquorum G\n",
    "member of itself": ONE + "group G any G\nquorum G\n",
    "log's key for a witness": f"witness X {LOG.vkey}\nquorum X\n",
    "witness's key for a log": f"log {KEYS['X1']}\nquorum none\n",
    "control character": ONE + "quorum X\r\n",
    "too long": "#" * 70_000 + "\nquorum none\n",
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_in_the_form_is_refused(name: str) -> None:
    """No line is passed over, and nothing is guessed."""
    with pytest.raises(MandamusError) as error:
        _read(WRONG[name])
    assert error.value.code is Code.VALUE_INVALID
