from __future__ import annotations

import base64
import itertools
import json
import shlex
import urllib.parse
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.redact import LENGTH_MIN, Redactor

KEY = b"k" * 32
SECRET = "p@ss <w>&'ord\"\\1"
PEM = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqh\nkiG9w0BAQEFAASC\nend\n-----END KEY-----\n"


def redactor(*secrets: str) -> Redactor:
    return Redactor(secrets, KEY)


def streamed(made: Redactor, chunks: list[bytes]) -> bytes:
    stream = made.stream()
    return b"".join([*(stream.feed(chunk) for chunk in chunks), stream.close()])


def test_a_mark_is_equal_for_equal_texts_and_for_nothing_else():
    """Policy can test equality of what it may not read, and a mark under another key says nothing."""
    made = redactor("hunter22")
    assert made.mark("a") == made.mark("a") != made.mark("b")
    assert made.text("x hunter22") == f"x {made.mark('hunter22')}"
    assert made.mark("a") != Redactor([], b"other").mark("a")


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps({"a": SECRET}),
        json.dumps(json.dumps({"a": SECRET})),
        json.dumps(SECRET).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
        urllib.parse.quote(SECRET, safe=""),
        urllib.parse.quote_plus(SECRET),
        shlex.quote(SECRET),
        SECRET.encode().hex(),
        SECRET.encode().hex().upper(),
        *(base64.b64encode(b"u" * pad + SECRET.encode() + b"tail").decode() for pad in range(7)),
        *(base64.urlsafe_b64encode(b"u" * pad + SECRET.encode()).decode() for pad in range(3)),
    ],
)
def test_every_usual_form_of_a_secret_is_found(form: str):
    """What tools do to a value on its way to the log does not carry it past us."""
    made = redactor(SECRET)
    assert made.mark(SECRET) in made.text(f"before {form} after")
    assert made.mark(SECRET).encode() in streamed(made, [b"before ", form.encode(), b" after"])


def test_a_secret_of_several_lines_is_found_whole_by_line_and_in_json():
    """A log prefixes lines; a PEM key must not come out in pieces of 8 characters or more."""
    made = redactor(PEM)
    prefixed = "".join(f"| {line}\n" for line in PEM.splitlines())
    for text in (PEM, PEM.strip(), json.dumps(PEM), prefixed):
        shown = made.text(f"x{text}x")
        assert "MIIE" not in shown
        assert "kiG9" not in shown
    assert made.text(PEM) == made.mark(PEM)


def test_overlapping_secrets_leave_nothing_of_either():
    """Of two secrets that overlap in the text, no byte of the second survives the first."""
    made = redactor("abcd1234", "1234efgh")
    assert made.text("<abcd1234efgh>") == f"<{made.mark('abcd1234')}>"


def test_values_keep_their_types():
    """Policy sees the same shapes with and without redaction, but for a number that is a secret."""
    made = redactor("hunter22", "424242")
    value = {"a": ["hunter22", 1, True, None, Decimal("1.5")], "khunter22": {"n": 424242}}
    assert made.value(value) == {
        "a": [made.mark("hunter22"), 1, True, None, Decimal("1.5")],
        f"k{made.mark('hunter22')}": {"n": made.mark("424242")},
    }


def test_short_secrets_are_refused_and_empty_ones_ignored():
    """A secret of three characters would garble every log; the value is not in the error."""
    assert redactor("").text("plain") == "plain"
    with pytest.raises(MandamusError) as caught:
        redactor("zq7")
    assert caught.value.code is Code.VALUE_INVALID
    assert "zq7" not in str(caught.value)


def test_redacting_twice_changes_nothing_even_when_a_secret_occurs_in_a_mark():
    """What was approved redacted and what is applied redacted again must be the same bytes."""
    inner = redactor("hunter22").mark("hunter22")[-5:]
    made = redactor("hunter22", "redacted", inner)
    once = made.text("a hunter22 b redacted c")
    assert made.text(once) == once
    assert streamed(made, [bytes([byte]) for byte in once.encode()]) == once.encode()


def test_a_mark_and_what_follows_it_are_no_secret():
    """A secret that begins as some mark ends is not seen where that mark meets the rest of the secret by chance."""
    for number in range(200):
        secret = f"ab\né\nb{number}"
        made = redactor(secret)
        once = made.text(f"{secret}{secret[1:]} {made.mark(secret)[-1]}{secret}")
        assert made.text(once) == once
        assert streamed(made, [bytes([byte]) for byte in once.encode()]) == once.encode()


def test_hold_back_is_bounded_and_only_for_what_may_become_a_secret():
    """Live output is not delayed by the length of a secret, and memory does not grow."""
    made = redactor("aaaaaaaa", "secret-value-1")
    stream = made.stream()
    assert stream.feed(b"Apply complete! 1 added\n") == b"Apply complete! 1 added\n"
    assert stream.feed(b"s") == b""
    assert stream.feed(b"o") == b"so"
    for _ in range(1000):
        stream.feed(b"a" * 100)
        assert len(stream._held) < made.form_bytes_max
    assert b"a" not in stream.close()


SECRETS = st.lists(st.text(st.sampled_from("ab1\n'<é"), min_size=LENGTH_MIN, max_size=9), min_size=1, max_size=4)


@settings(max_examples=300, deadline=None)
@given(SECRETS, st.text(st.sampled_from("ab1\n'<éx"), max_size=60), st.data())
def test_the_cut_of_the_chunks_never_shows(secrets: list[str], noise: str, data: st.DataObject):
    """Whatever the borders, a stream gives what the whole text gives, and no secret survives."""
    made = Redactor(secrets, KEY)
    text = noise + data.draw(st.sampled_from(secrets)) + noise[::-1]
    raw = text.encode()
    whole = made.text(text).encode()
    for cut in range(len(raw) + 1):
        assert streamed(made, [raw[:cut], raw[cut:]]) == whole
    assert streamed(made, [raw[at : at + 1] for at in range(len(raw))]) == whole
    borders = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    edges = [0, *borders, len(raw)]
    assert streamed(made, [raw[a:b] for a, b in itertools.pairwise(edges)]) == whole
    assert made.text(whole.decode()).encode() == whole


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=LENGTH_MIN, max_size=40), st.binary(max_size=4), st.binary(max_size=4))
def test_base64_of_anything_around_a_secret_is_found(secret: str, before: bytes, after: bytes):
    """Neighbouring bytes change the first and last characters of base64, never what is searched for."""
    try:
        raw = secret.encode()
    except UnicodeEncodeError:
        return
    made = Redactor([secret], KEY)
    encoded = base64.b64encode(before + raw + after)
    assert b"redacted:" in streamed(made, [encoded])


def test_a_redactor_can_learn_more():
    """What was known stays known, marks stay the same, and the one that was asked learns nothing."""
    first = Redactor(["first-secret"], KEY)
    both = first.knowing(["second-secret"])
    text = "first-secret second-secret"
    assert both.text(text) == f"{first.mark('first-secret')} {first.mark('second-secret')}"
    assert first.text(text).endswith(" second-secret")
