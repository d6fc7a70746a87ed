"""The forms of data fields: what each takes and what it refuses."""

from __future__ import annotations

import pytest

from mandamus.audit import forms
from mandamus.audit.forms import Form
from mandamus.audit.kinds import Kind

FITS = {
    "digest": (forms.DIGEST, "sha256:" + "0a" * 32),
    "id": (forms.ID, "run_06f3x"),
    "name": (forms.NAME, "Größe of prod/eu"),
    "word": (forms.WORD, "not_started"),
    "count": (forms.COUNT, 2**53 - 1),
    "flag": (forms.FLAG, False),
    "key": (forms.KEY, "example.com/log+deadbeef+AAAA"),
    "ticket": (forms.TICKET, "CHG-1234"),
    "ticket of a forge": (forms.TICKET, "org/repo#12"),
    "null": (forms.maybe(forms.WORD), None),
    "list": (forms.list_of(forms.NAME), ("a", "b")),
    "table": (forms.table(a=forms.COUNT, b=forms.NAME), {"a": 1}),
    "by name": (forms.by_name(forms.NAME), {"token": "x"}),
    "short": (forms.SHORT, "x" * forms.SHORT_MAX),
    "one of": (forms.one_of("plan", "judge"), "plan"),
}
FAILS = {
    "digest of another hash": (forms.DIGEST, "sha512:" + "0a" * 32),
    "digest in capitals": (forms.DIGEST, "sha256:" + "0A" * 32),
    "digest and a line end": (forms.DIGEST, "sha256:" + "0a" * 31 + "0\n"),
    "id and words": (forms.ID, "run_1 because"),
    "name of two lines": (forms.NAME, "a\nb"),
    "name that turns the line": (forms.NAME, "a\u202eb"),
    "name without end": (forms.NAME, "x" * (forms.NAME_MAX + 1)),
    "sentence for a word": (forms.WORD, "Because it had to be."),
    "flag for a count": (forms.COUNT, True),
    "negative count": (forms.COUNT, -1),
    "float": (forms.COUNT, 1.0),
    "number for a flag": (forms.FLAG, 1),
    "sentence for a ticket": (forms.TICKET, "see the mail"),
    "list for a name": (forms.NAME, ["a"]),
    "text for a list": (forms.list_of(forms.NAME), "abc"),
    "wrong element": (forms.list_of(forms.COUNT), [1, "2"]),
    "foreign member": (forms.table(a=forms.COUNT), {"a": 1, "b": 2}),
    "wrong value": (forms.by_name(forms.COUNT), {"token": "x"}),
    "long": (forms.SHORT, "x" * (forms.SHORT_MAX + 1)),
    "another word": (forms.one_of("plan", "judge"), "apply"),
}


@pytest.mark.parametrize(("form", "value"), FITS.values(), ids=FITS)
def test_a_form_takes_what_it_says(form: Form, value: object) -> None:
    """What has the form is taken."""
    assert form.fits(value)


@pytest.mark.parametrize(("form", "value"), FAILS.values(), ids=FAILS)
def test_a_form_refuses_anything_else(form: Form, value: object) -> None:
    """A value of another type, too long, or with room for free text is refused."""
    assert not form.fits(value)


def test_no_field_takes_an_essay() -> None:
    """No data field of any kind takes a text of more than 16,384 characters: long words have no place but ``why``."""
    essay = "x" * (forms.TEXT_MAX + 1)
    assert not [f"{kind.text} {name}" for kind in Kind for name, form in kind.fields.items() if form.fits(essay)]
