"""``mandamus policy schema``."""

from __future__ import annotations

import json

from mandamus.policy import schema


def test_it_prints_the_schema(bare):
    """The text and the JSON are the same schema; no home is needed, and a point that is none is a usage error."""
    for words in ((), ("--output", "json")):
        told = bare("policy", "schema", "apply", *words)
        assert told.code == 0
        assert json.loads(told.out) == schema.of_point("apply")
    assert bare("policy", "schema", "aply").code == 2
