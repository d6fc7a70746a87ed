"""Ids, errors, access and the change set: the words every floor uses."""

import pytest

from mandamus.kernel import canonical, ids
from mandamus.kernel.access import MEMBER, OWNER, Permission, Subject, permission_of, requires
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence, from_json
from mandamus.kernel.clock import rfc3339
from mandamus.kernel.errors import Code, Exit, MandamusError, Problem, raise_problems


def test_ids_sort_by_time_and_parse(clock, entropy):
    """Ids made later sort later, carry UUID version 7, and parse back; anything else is `id_invalid`."""
    made = ids.Ids(clock, entropy)
    found = []
    for _ in range(50):
        found.append(made.run())
        clock.advance(0.002)
    assert found == sorted(found)
    assert len(set(found)) == 50
    assert all(ids.parse("run", one) == one for one in found)
    for bad in ("run_", found[0].replace("run", "dec"), found[0] + "x", "run_" + "u" * 26, "../" + found[0]):
        with pytest.raises(MandamusError) as caught:
            ids.parse("run", bad)
        assert caught.value.code is Code.ID_INVALID


def test_times_are_rfc_3339_in_utc():
    """Microseconds show with six decimals and Z."""
    assert rfc3339(1_767_225_600_000_001) == "2026-01-01T00:00:00.000001Z"


def test_every_code_has_its_own_text_and_a_known_exit():
    """No two codes share a text; every code maps to a status and an exit code of the table."""
    texts = [code.text for code in Code]
    assert len(texts) == len(set(texts))
    assert all(400 <= code.http_status < 600 and isinstance(code.exit, Exit) and code.exit for code in Code)


def test_errors_show_their_four_parts():
    """An error is code, message, remedy and context, ready for JSON."""
    error = MandamusError(Code.NOT_FOUND, "no run", remedy="list them", context={"run": "x"})
    assert error.to_json() == {
        "code": "not_found",
        "message": "no run",
        "remedy": "list them",
        "context": {"run": "x"},
        "retryable": False,
    }


def test_problems_are_raised_together_with_their_places():
    """Every problem shows as file:line:col, all in one error; none is no error."""
    raise_problems(Code.WORKFLOW_INVALID, [], remedy="-")
    problems = [
        Problem("a.yaml", 1, 2, "unknown_key", "no key `x`", "did you mean `y`?"),
        Problem("a.yaml", 3, 4, "b", "c", "d"),
    ]
    with pytest.raises(
        MandamusError, match=r"a\.yaml:1:2: unknown_key: no key `x` \(did you mean `y`\?\)\na\.yaml:3:4"
    ) as caught:
        raise_problems(Code.WORKFLOW_INVALID, problems, remedy="-")
    assert len(caught.value.context["problems"]) == 2


class _Verbs:
    @requires(Permission.RUN_SETTLE)
    def settle(self, who: Subject, what: str) -> str:  # noqa: ARG002 - the guard reads it
        return what


def test_a_verb_is_refused_before_it_does_anything():
    """Without the permission a verb raises `forbidden`; with it, it runs; the binding can be read."""
    assert _Verbs().settle(Subject("ada", "os-user", permissions=OWNER), "x") == "x"
    with pytest.raises(MandamusError) as caught:
        _Verbs().settle(Subject("ada", "os-user", permissions=MEMBER), "x")
    assert caught.value.code is Code.FORBIDDEN
    assert caught.value.context == {"user": "ada", "permission": "run:settle"}
    assert permission_of(_Verbs.settle) is Permission.RUN_SETTLE


def test_a_change_set_round_trips_and_its_digest_is_that_of_its_bytes():
    """The JSON form rebuilds the value; the digest names the canonical bytes."""
    change = Change(
        "a.b", "a", "b", Action.REPLACE, destructive=True, after={"x": 1}, unknown=("/id",), diff=({"path": "/x"},)
    )
    made = ChangeSet({"name": "terraform"}, Confidence.EXACT, (change, Change("c", "c", "c", Action.NOOP)))
    assert from_json(canonical.loads(made.to_bytes())) == made
    assert made.digest == canonical.digest(made.to_bytes())
    assert made.summary() == {"replace": 1}
