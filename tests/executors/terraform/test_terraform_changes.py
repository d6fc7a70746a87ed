from __future__ import annotations

from decimal import Decimal

import pytest

from mandamus.executors import terraform_changes, terraform_redact
from mandamus.kernel import canonical
from mandamus.kernel.changeset import Action, ChangeSet, Confidence
from mandamus.kernel.redact import Redactor

KEY = b"k" * 32


def entry(actions, *, before=None, after=None, **more):
    """One entry of ``resource_changes``."""
    body = {"actions": actions, "before": before, "after": after, "after_unknown": {}, **more.pop("change", {})}
    plain = {"address": "t.n", "mode": "managed", "type": "t", "name": "n", "provider_name": "p"}
    return {**plain, **more, "change": body}


def change_set(**document) -> ChangeSet:
    """The change set of a plan document with these parts."""
    return terraform_changes.change_set(
        {"format_version": "1.2", **document}, tool=("terraform", "1.0"), artifact={}, sandbox="required", sources={}
    )


def redacted(document, secrets=(), texts=None):
    """The document after redaction, and what is marked sensitive in it."""
    found = terraform_redact.sensitive_texts(document)
    redactor = Redactor(secrets, KEY).knowing(terraform_redact.searched(found))
    return canonical.loads(terraform_redact.redact(document, redactor, found if texts is None else texts))


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ({"tags": None}, {"tags": {}}, False),
        ({"a": "", "b": [], "c": False}, {"a": None, "b": None, "c": None}, False),
        ({"tags": {}}, {"tags": {"a": {"b": ""}}}, False),
        ({"tags": {}}, {"tags": {"owner": "me"}}, True),
        ({"n": None}, {"n": 0}, True),
        ({"list": ["a", ""]}, {"list": ["a"]}, False),
        ({"n": 1, "tags": None}, {"n": 2, "tags": {}}, True),
    ],
)
def test_drift_without_content_is_noise(before, after, kept):
    """Where both sides are empty nothing drifted, though terraform says so."""
    found = change_set(resource_drift=[entry(["update"], before=before, after=after)]).drift
    assert bool(found) is kept


def test_a_deleted_object_is_drift():
    """Whatever it held."""
    (found,) = change_set(resource_drift=[entry(["delete"], before={"a": None})]).drift
    assert found.action is Action.DELETE


def test_what_is_not_known_is_told_as_such_and_taken_for_destructive():
    """A combination of actions from a later terraform must not pass as harmless."""
    (found,) = change_set(resource_changes=[entry(["create", "forget"])]).changes
    assert (found.action, found.destructive) == (Action.UNKNOWN, True)


def test_a_deposed_object_is_told_apart():
    """The object that a failed replacement left is another one than the object itself."""
    both = [entry(["no-op"]), entry(["delete"], deposed="ab12")]
    assert [each.address for each in change_set(resource_changes=both).changes] == ["t.n", "t.n (deposed ab12)"]


def test_an_action_is_run_and_nobody_knows_what_it_does():
    """Actions of Terraform 1.14 change no object, and are in the change set all the same."""
    invocation = {
        "address": "action.aws_lambda_invoke.x",
        "type": "aws_lambda_invoke",
        "name": "x",
        "config_values": {"payload": "secret-payload"},
        "config_sensitive": {"payload": True},
    }
    document = {"action_invocations": [invocation]}
    document = redacted(document)
    (found,) = change_set(**document).changes
    assert (found.action, found.confidence, found.sensitive) == (Action.RUN, Confidence.OPAQUE, ("/payload",))
    assert found.after["payload"].startswith("redacted:")


def test_an_incomplete_or_errored_plan_says_so():
    """Deferred changes make a plan incomplete."""
    found = change_set(complete=False, errored=True)
    assert (found.complete, found.errored) == (False, True)


def test_pointers_escape_what_rfc_6901_reserves():
    """``~`` and ``/`` in keys, indexes of lists, and the whole."""
    marks = {"a/b": {"c~d": True}, "list": [False, {"x": True}], "no": {}, "off": False}
    assert list(terraform_changes.pointers(marks)) == ["/a~1b/c~0d", "/list/1/x"]
    assert list(terraform_changes.pointers(True)) == [""]
    assert list(terraform_changes.pointers({})) == []


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("module.m", "module.m"),
        ('module.m["a"].module.n[0]', "module.m.module.n"),
        (r'module.m["a]\"b["].module.n["]"]', "module.m.module.n"),
    ],
)
def test_a_module_is_found_without_its_indexes(address, plain):
    """Keys may hold brackets and quotes."""
    assert terraform_changes.without_indexes(address) == plain


def test_lists_that_grow_or_shrink_are_compared_by_place():
    """What is new has no before, what is gone no after; unknown parts say so."""
    parts = list(terraform_changes.differences([1, 2], [1, 3, 4], [False, False, False]))
    assert parts == [("/1", 2, 3, False), ("/2", None, 4, False)]
    assert list(terraform_changes.differences({"a": 1}, {}, {"a": True})) == [("/a", 1, None, True)]


def test_marked_values_lose_their_content_and_keep_their_shape():
    """Texts, numbers and booleans become marks; lists stay lists, maps maps of the same size, null stays null."""
    after = {"list": ["one-secret", 12345, True, None], "map": {"key-name": "two-secret"}, "open": "three"}
    marks = {"list": True, "map": True}
    document = {"resource_changes": [entry(["create"], after=after, change={"after_sensitive": marks})]}
    found = redacted(document)["resource_changes"][0]["change"]["after"]
    assert found["open"] == "three"
    assert [type(item) for item in found["list"]] == [str, str, str, type(None)]
    assert len(found["map"]) == 1
    text = str(found)
    assert not [secret for secret in ("one-secret", "12345", "True", "key-name", "two-secret") if secret in text]


def test_every_place_of_a_plan_is_redacted():
    """Variables and defaults, planned and prior values, drift, outputs, deferred changes, child modules."""
    secret = "everywhere-secret"
    resource = {"values": {"p": secret, "q": ["open"]}, "sensitive_values": {"p": True}}
    change = {"actions": ["update"], "before": {"p": secret}, "after": {"p": secret}}
    change |= {"before_sensitive": {"p": True}, "after_sensitive": {"p": True}}
    values = {
        "outputs": {"o": {"sensitive": True, "value": {"deep": [secret]}}},
        "root_module": {"resources": [resource], "child_modules": [{"resources": [dict(resource)]}]},
    }
    variables = {"v": {"sensitive": True, "default": secret}}
    document = {
        "variables": {"v": {"value": secret}, "w": {"value": f"has {secret}"}},
        "configuration": {
            "root_module": {
                "variables": variables,
                "module_calls": {"m": {"module": {"variables": {"x": {"sensitive": True, "default": secret}}}}},
                "resources": [{"expressions": {"p": {"constant_value": secret}}}],
            }
        },
        "planned_values": values,
        "prior_state": {"values": values},
        "resource_changes": [entry(["update"], change=change)],
        "resource_drift": [entry(["update"], change=dict(change))],
        "deferred_changes": [{"reason": "x", "resource_change": entry(["update"], change=dict(change))}],
        "output_changes": {"o": {"actions": ["create"], "after": secret, "after_sensitive": True}},
        "checks": [{"instances": [{"problems": [{"message": f"not {secret}"}]}]}],
    }
    text = canonical.dumps(redacted(document)).decode()
    assert secret not in text
    assert '"open"' in text


def test_short_values_are_redacted_at_their_place_only():
    """A value of up to three characters is hidden where it is marked; elsewhere it is ordinary text."""
    change = {"after_sensitive": {"pin": True}}
    document = {"resource_changes": [entry(["create"], after={"pin": "abc", "name": "xabcx"}, change=change)]}
    after = redacted(document)["resource_changes"][0]["change"]["after"]
    assert after["pin"].startswith("redacted:")
    assert after["name"] == "xabcx"


def test_many_values_are_found_as_whole_texts_and_the_longest_inside_others():
    """However many there are, none is seen where it stands alone."""
    secrets = [f"generated-{index:04}" for index in range(200)] + ["x" * 40]
    resources = [
        entry(["create"], name=f"r{at}", after={"p": text, "copy": None}, change={"after_sensitive": {"p": True}})
        for at, text in enumerate(secrets)
    ]
    other = entry(["create"], name="other", after={"all": list(secrets), "in": f"a {'x' * 40} b", "n": Decimal("1.5")})
    text = canonical.dumps(redacted({"resource_changes": [*resources, other]})).decode()
    assert not [secret for secret in secrets if f'"{secret}"' in text or "x" * 40 in text]
    assert '"n":1.5' in text


def test_platform_secrets_are_found_in_keys_and_numbers_too():
    """What the platform knows as secret is taken out of addresses, keys and digits."""
    document = {
        "resource_changes": [entry(["create"], address='t.n["platform-secret"]', after={"platform-secret": 987654})]
    }
    text = str(redacted(document, secrets=["platform-secret", "987654"]))
    assert "platform-secret" not in text
    assert "987654" not in text
