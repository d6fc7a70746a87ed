"""The schemas of inputs: right JSON Schema, closed where the platform decides, in step with the change set."""

from __future__ import annotations

import dataclasses

import pytest
from jsonschema import Draft202012Validator

from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.policy import schema
from mandamus.policy.model import Point


@pytest.fixture(scope="module", autouse=True)
def any_input():
    """These tests are about the real inputs."""


def parts(node):
    if isinstance(node, dict):
        yield node
        for below in node.values():
            yield from parts(below)
    elif isinstance(node, list):
        for below in node:
            yield from parts(below)


@pytest.mark.parametrize("point", Point)
def test_it_is_json_schema(point):
    """Each schema is valid JSON Schema 2020-12, and whole in itself: every reference leads into it."""
    found = schema.of_point(point)
    Draft202012Validator.check_schema(found)
    for part in parts(found):
        if "$ref" in part:
            assert part["$ref"].removeprefix("#/$defs/") in found["$defs"]
    assert found["properties"]["point"]["const"] == point


@pytest.mark.parametrize("point", Point)
def test_every_object_says_whether_it_is_open(point):
    """No object is open by accident, and all that is there is said to be needed or left out on purpose."""
    for part in parts(schema.of_point(point)):
        if "object" in str(part.get("type", "")) and not isinstance(part.get("type"), dict):
            assert isinstance(part["additionalProperties"], bool), part


def test_a_change_set_has_the_fields_of_the_kernel():
    """The fields and words of a change set are those that the kernel writes."""
    defs = schema.of_point(Point.PLAN)["$defs"]
    for name, made in (("change_set", ChangeSet), ("change", Change)):
        assert set(defs[name]["properties"]) == {field.name for field in dataclasses.fields(made)}
    assert defs["change"]["properties"]["action"]["enum"] == list(Action)
    assert defs["change"]["properties"]["confidence"]["enum"] == list(Confidence)


def test_what_a_caller_does_to_it_stays_with_the_caller():
    """A schema that was handed out can be changed without changing the next."""
    schema.of_point(Point.PLAN)["$defs"]["change"]["properties"].clear()
    assert schema.of_point(Point.PLAN)["$defs"]["change"]["properties"]


def test_rows_are_every_path_with_its_type():
    """The reference's rows go through references, lists and alternatives."""
    rows = {path: kind for path, kind, _ in schema.rows(Point.ACCESS)}
    assert rows["input.who.behalf_of"] == "string or null"
    assert rows["input.run"] == "object or null"
    assert rows["input.run.requester.groups"] == "array of string"
    assert {"input.change_set.changes[_].diff[_].path"} <= {path for path, *_ in schema.rows(Point.PLAN)}
    assert all(meaning for point in Point for *_, meaning in schema.rows(point))
