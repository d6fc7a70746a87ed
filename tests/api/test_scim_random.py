"""Whatever a provider sends, it is read or refused in words; a filter or a path is never anything else."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.api.scim_filter import GROUP_FIELDS, USER_FIELDS, parse_filter, parse_path
from mandamus.api.scim_patch import GROUP, PATCH, USER, group_of, patch_group, patch_user, user_of
from mandamus.identity.provided import PersonGiven, TeamGiven, checked_person, checked_team
from mandamus.kernel.errors import Code, MandamusError

NAMES = ("userName", "active", "emails", "name", "displayName", "members", "externalId", "groups", "id", "x", "schemas")
PATHS = ('emails[type eq "work"].value', 'members[value eq "a"]', "name.formatted", "urn:a:b", "[", "a.b.c", "")
KINDS = {"invalidSyntax", "invalidValue", "invalidPath", "invalidFilter", "noTarget", "mutability"}
"""RFC 7644, 3.12."""
TEXTS = st.one_of(st.text(max_size=30), st.sampled_from(["True", "False", "ada", "\x00", "a\nb"]))
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*NAMES, "value", "type", "primary", "VALUE"]), inner, max_size=3),
    ),
    max_leaves=6,
)
OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "Replace", "REMOVE", "move", ""])},
    optional={"path": st.one_of(st.sampled_from([*NAMES, *PATHS]), TEXTS), "value": VALUES},
)


def tried(read: Any, *given_: Any) -> Any:
    """What comes of it, or None when it was refused as what a provider may have got wrong."""
    try:
        return read(*given_)
    except MandamusError as error:
        refused = error
    assert refused.code is Code.VALUE_INVALID
    assert refused.context["scim_type"] in KINDS
    return None


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(OPERATIONS, VALUES), max_size=4))
def test_any_patch_gives_a_user_and_a_group_or_is_refused(operations):
    """What comes out has the types of a user and of a group, however it was sent."""
    body = {"schemas": [PATCH], "Operations": operations}
    person = tried(patch_user, PersonGiven("ada"), body)
    if person is not None:
        assert all(isinstance(each, str) for each in (person.name, person.display_name, person.email))
        assert isinstance(person.active, bool)
        assert person.external_id is None or isinstance(person.external_id, str)
        tried(checked_person, person)
    team = tried(patch_group, TeamGiven("platform", None, frozenset({"a"})), body)
    if team is not None:
        assert isinstance(team.shown, str)
        assert all(isinstance(each, str) for each in team.members)
        tried(checked_team, team)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.one_of(st.sampled_from(NAMES), TEXTS), VALUES, max_size=6))
def test_any_body_gives_a_user_and_a_group_or_is_refused(body):
    """The same of whole resources."""
    for read, schema in ((user_of, USER), (group_of, GROUP)):
        tried(read, {**{name: each for name, each in body.items() if name.lower() != "schemas"}, "schemas": [schema]})


@settings(max_examples=150, deadline=None)
@given(st.one_of(TEXTS, st.lists(st.sampled_from(['userName eq "a"', "and", "or", "(", ")", '"', "active eq true"]))))
def test_any_filter_and_path_is_read_or_refused(parts):
    """A filter is a list of equalities, and everything else is told to be none."""
    text = parts if isinstance(parts, str) else " ".join(parts)
    for fields in (USER_FIELDS, GROUP_FIELDS):
        found = tried(parse_filter, text, fields)
        assert found is None or set(found) <= set(fields.values())
    tried(parse_path, text)


def test_a_value_in_a_filter_is_a_value():
    """Quotes, brackets and words of the language inside of it mean nothing."""
    hard = 'a" and active eq true or "b'
    escaped = hard.replace('"', '\\"')
    assert list(parse_filter(f'userName eq "{escaped}"', USER_FIELDS).values()) == [hard]
    assert parse_path(f'members[value eq "{escaped}"]').value == hard
