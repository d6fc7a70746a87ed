"""Parts of JSON pointers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mandamus.kernel.pointer import escaped, unescaped


@pytest.mark.parametrize(("name", "part"), [("a/b", "a~1b"), ("m~n", "m~0n"), ("", ""), ("~1", "~01"), ('k"l', 'k"l')])
def test_the_examples_of_the_rfc(name, part):
    """RFC 6901, sections 4 and 5: order matters, so that ``~01`` is ``~1`` and never ``/``."""
    assert (escaped(name), unescaped(part)) == (part, name)


@given(st.text(alphabet="~/01a"))
def test_a_part_says_one_name(name):
    """A name comes back from its part, which holds no ``/``."""
    assert unescaped(escaped(name)) == name
    assert "/" not in escaped(name)
