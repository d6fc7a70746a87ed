"""A change set as rows of a page: destructive first, sensitive masked, what is unknown said."""

from __future__ import annotations

from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.web.changes import ATTRIBUTES_MAX, OBJECTS_MAX, shown


def changes(*given: Change, **options) -> dict:
    """A change set in its JSON form."""
    tool = {"name": "terraform", "version": "1.9"}
    return ChangeSet(tool=tool, fidelity=Confidence.EXACT, changes=given, **options).to_json()


def change(address: str, action: Action, **options) -> Change:
    """One change."""
    return Change(address=address, type="bucket", name=address, action=action, **options)


def test_what_destroys_comes_first():
    """Delete and replace before all else, and marked."""
    found = shown(
        changes(
            change("new", Action.CREATE),
            change("same", Action.NOOP),
            change("old", Action.DELETE),
            change("other", Action.UPDATE),
            change("again", Action.REPLACE, destructive=True, replace_order="delete_before_create"),
        )
    )
    assert [(group.action, group.destructive) for group in found.groups] == [
        ("delete", True),
        ("replace", True),
        ("update", False),
        ("create", False),
    ]
    assert found.groups[1].items[0].notes == ("destructive", "delete before create")


def test_secrets_are_masked():
    """Of a sensitive attribute neither side is shown, of an unknown one only the side that is known."""
    row = change(
        "db",
        Action.UPDATE,
        before={"password": "old-one", "size": 1, "id": "x"},
        after={"password": "new-one", "size": 2, "id": None},
        sensitive=("/password",),
        unknown=("/id",),
    )
    rows = {each.path: each for each in shown(changes(row)).groups[0].items[0].rows}
    assert (rows["password"].before, rows["password"].after) == ("sensitive", "sensitive")
    assert (rows["size"].before, rows["size"].after) == ("1", "2")
    assert (rows["id"].before, rows["id"].after) == ('"x"', "known after apply")
    assert "old-one" not in repr(rows)
    assert "new-one" not in repr(rows)


def test_a_large_change_set_is_cut_and_says_so():
    """Objects and attributes beyond the limit are counted."""
    many = [change(f"b{each:03}", Action.CREATE, after={"a": 1}) for each in range(OBJECTS_MAX + 5)]
    assert shown(changes(*many)).groups[0].more == 5
    wide = change("b", Action.CREATE, after={f"a{each:03}": each for each in range(ATTRIBUTES_MAX + 7)})
    assert shown(changes(wide)).groups[0].items[0].more == 7


def test_what_is_less_than_certain_is_said():
    """A tool that could not say everything, that failed, or that runs without a sandbox."""
    found = shown(changes(complete=False, errored=True, sandbox="none"))
    assert len(found.warnings) == 3
    assert shown(changes(drift=(change("x", Action.UPDATE),))).groups[0].action == "drift"
    assert shown({}) is None
