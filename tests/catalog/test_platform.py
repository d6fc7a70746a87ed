"""The platform file: users, groups, environments, with every problem at once and never a secret's value."""

from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.audit.gate import Demand, Mode
from mandamus.catalog import platform
from mandamus.catalog.model import Environment, Pool, environment_from
from mandamus.catalog.platform import Known, PlatformConfig
from mandamus.identity.model import Group, User
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.secrets.model import SecretRef

GOOD = """\
users:
  ada: {name: Ada Lovelace, email: ada@example.com}
  grace:
  alan: {active: false}
groups:
  platform: [grace, alan]
  empty: []
environments:
  dev:
  prod:
    protected: true
    vars: {hook: "https://hooks.example.com", size: 3, tags: [a, b], no: no}
    secrets: {token: {env: DEPLOY_TOKEN}, key: {file: secrets/key}, abs: {file: /run/secrets/x}}
    policies: [policies/base, policies/../policies/more]
    approvers: {platform: {count: 2}}
    approval_ttl: 8h
    pool: {sandbox: none, network: true, allow_private: [127.0.0.0/8, "::1/128", 10.1.2.3]}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("base", "more"):
        (tmp_path / "policies" / name).mkdir(parents=True)
    return tmp_path


def read(text: str, folder: Path, known: Known | None = None) -> PlatformConfig:
    return platform.read(text.encode(), "p.yaml", folder, known)


def problems(text: str, folder: Path, known: Known | None = None) -> list[str]:
    """What is refused, as ``line:col: message (remedy)``."""
    with pytest.raises(MandamusError) as caught:
        read(text, folder, known)
    assert caught.value.code is Code.ENVIRONMENT_INVALID
    found = caught.value.context["problems"]
    assert isinstance(found, list)
    assert all(each["file"] == "p.yaml" and each["remedy"] for each in found)
    return [f"{each['line']}:{each['col']}: {each['message']} ({each['remedy']})" for each in found]


def test_a_platform_file_is_read(folder):
    """Everything an environment has, users with and without more, groups, and paths relative to the file."""
    made = read(GOOD, folder)
    assert made.users == (
        User("ada", "Ada Lovelace", "ada@example.com"),
        User("grace"),
        User("alan", active=False),
    )
    assert made.groups == (Group("platform", ("grace", "alan")), Group("empty"))
    dev, prod = made.environments
    assert (dev.environment, dev.policies) == (Environment("dev"), ())
    assert [source.path for source in prod.policies] == [folder / "policies/base", folder / "policies/more"]
    assert prod.environment == Environment(
        name="prod",
        protected=True,
        vars={"hook": "https://hooks.example.com", "size": 3, "tags": ["a", "b"], "no": "no"},
        secrets={
            "token": SecretRef(env="DEPLOY_TOKEN"),
            "key": SecretRef(file=str(folder / "secrets/key")),
            "abs": SecretRef(file="/run/secrets/x"),
        },
        approvers={"platform": 2},
        approval_ttl_s=8 * 3600,
        pool=Pool("none", network=True, allow_private=("127.0.0.0/8", "::1/128", "10.1.2.3/32")),
    )


def test_the_default_pool_is_walled_in(folder):
    """What is not said is the safe choice: sandbox required, no network, no private addresses, a day to approve."""
    (target,) = read("environments: {dev: {}}\n", folder).environments
    made = target.environment
    assert (made.pool, made.protected, made.approval_ttl_s) == (Pool("required", network=False), False, 86_400)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("require", Demand(Mode.REQUIRE)),
        ("none", Demand(Mode.NONE)),
        ("{grace: 30m}", Demand(Mode.GRACE, 1800)),
    ],
)
def test_what_is_demanded_of_witnesses_is_read(folder, text, expected):
    """It is kept with the environment; changing it has runs that wait judged again, not planned again."""
    made = read(f"environments: {{dev: {{witnesses: {text}}}}}", folder).environments[0].environment
    assert made.witnesses == expected
    assert environment_from(canonical.dumps(made.to_json()), "ada").witnesses == expected
    plain = read("environments: {dev: {}}", folder).environments[0].environment
    assert (made.target, made.judges == plain.judges) == (plain.target, False)
    assert "witnesses" not in plain.to_json()


@pytest.mark.parametrize("text", ["grace", "{grace: 5s}", "{}", "true"])
def test_no_other_demand_is_understood(folder, text):
    """A misspelt demand is an error, never none."""
    assert problems(f"environments: {{dev: {{witnesses: {text}}}}}", folder)


def test_an_environment_is_rebuilt_from_its_bytes(folder):
    """The stored form gives the same environment and digest; who applied it is no part of the digest."""
    target = read(GOOD, folder).environments[1]
    made = target.published((canonical.digest(b"one"), canonical.digest(b"two")))
    data = canonical.dumps(made.to_json())
    back = environment_from(data, "ada")
    assert back.digest == made.digest == canonical.digest(data)
    assert back.applied_by == "ada"
    assert back.secrets == made.secrets
    assert (back.approvers, back.pool, back.policies) == (made.approvers, made.pool, made.policies)
    with pytest.raises(AssertionError, match="one digest for each"):
        target.published(())


BAD = """\
users:
  "a b": {}
  mandamus: {}
  ada: {nmae: Ada}
  bob: {active: no}
groups:
  Platform: [ada]
  team: [ada, ada, adda, 1]
environments:
  Prod: {}
  dev:
    protcted: true
    vars: {"1x": 1, y: "${{ inputs.x }}"}
    secrets:
      a: hunter2hunter2
      b: {value: hunter2hunter2}
      c: {env: A, file: b}
      d: {env: "hunter2 hunter2"}
      e: {}
      "f-g": {env: A}
    policies: [nowhere, policies/base, policies/base]
    approvers: {taem: {count: 1}, team: {count: 9}, Platform: {}}
    approval_ttl: 10s
    pool: {sandbox: requried, network: yes, allow_private: [10.0.0.1/8, 8.8.8.0/24, x]}
"""


def test_every_problem_is_told_at_once(folder):
    """One reading finds names, types, strangers, folders, counts and networks, each in its place."""
    found = problems(BAD, folder)
    assert [line.rpartition(" (")[0] for line in found] == [
        "2:3: `a b` is no name for a user",
        "3:3: `mandamus` is the platform's own name",
        "4:9: user `ada` has no key `nmae`",
        "5:17: `active` is a boolean, not string",
        "7:3: `Platform` is no name for a group",
        "8:15: `ada` stands twice in `team`",
        "8:20: there is no user `adda`",
        "8:26: a member of `team` is a string, not integer",
        "10:3: `Prod` is no name for an environment",
        "12:5: environment `dev` has no key `protcted`",
        "13:12: `1x` is no name for a variable",
        "13:24: variable `y` cannot hold an expression",
        "15:10: secret `a` is a reference, never a value",
        "16:10: secret `b` names no place",
        "16:11: secret `b` has no key `value`",
        "17:10: secret `c` names two places",
        "18:16: `env` is no name of a variable",
        "19:10: secret `e` names no place",
        "20:7: `f-g` is no name for a secret",
        f"21:16: {folder}/nowhere is no folder",
        "21:40: policies/base stands twice in `policies`",
        "22:17: there is no group `taem`",
        "22:49: `count` is 9, but `team` has 3 members",
        "22:63: `Platform` needs the key `count`",
        "23:19: `approval_ttl` is `10s`",
        "24:21: `sandbox` cannot be `requried`",
        "24:40: `network` is a boolean, not string",
        "24:61: `10.0.0.1/8` is no network",
        "24:73: 8.8.8.0/24 is not a private network",
        "24:85: `x` is no network",
    ]
    said = {line.partition(": ")[0]: line for line in found}
    assert "did you mean `name`?" in said["4:9"]
    assert "did you mean `ada`?" in said["8:20"]
    assert "did you mean `protected`?" in said["12:5"]
    assert "did you mean `team`?" in said["22:17"]
    assert "did you mean `required`?" in said["24:21"]


def test_a_value_that_was_written_as_a_secret_is_not_repeated(folder):
    """Somebody will write the value where the reference goes; the error must not carry it into a log."""
    with pytest.raises(MandamusError) as caught:
        read(BAD, folder)
    assert "hunter2" not in str(caught.value.to_json())


@pytest.mark.parametrize(
    "value", ["hunter2hunter2", "[hunter2hunter2]", "12345678", "{env: [hunter2hunter2]}", "{env: {hunter2hunter2: 1}}"]
)
def test_a_secret_of_any_wrong_shape_stays_unseen(folder, value):
    """Also when the shape is wrong in another way."""
    with pytest.raises(MandamusError) as caught:
        read(f"environments: {{dev: {{secrets: {{token: {value}}}}}}}\n", folder)
    assert "hunter2" not in str(caught.value.to_json())
    assert "12345678" not in str(caught.value.to_json())


def test_names_of_earlier_files_may_be_used(folder):
    """A file may name users and groups that were declared before; what it declares itself wins."""
    text = "groups: {team: [ada]}\nenvironments: {dev: {approvers: {ops: {count: 3}}}}\n"
    made = read(text, folder, Known(frozenset({"ada"}), frozenset({"ops"})))
    assert made.groups == (Group("team", ("ada",)),)
    assert made.environments[0].environment.approvers == {"ops": 3}
    assert problems(text, folder) == [
        "1:17: there is no user `ada` (add `ada` under `users`)",
        "2:34: there is no group `ops` (add `ops` under `groups`)",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", "1:1: the file declares nothing (add a section, such as users or environments)"),
        ("[]", "1:1: a platform file is a map, not list (write key: value lines below it, indented)"),
        ("users: [ada]", "1:8: `users` is a map, not list (write key: value lines below it, indented)"),
        ("environments: {dev: 1}", "1:21: environment `dev` is a map, not integer (write key: value lines below it,"),
        ("enviroments: {dev: {}}", "1:1: a platform file has no key `enviroments` (did you mean `environments`?)"),
    ],
)
def test_files_of_another_shape_are_told(folder, text, expected):
    """A file that is no platform file says what one looks like."""
    assert problems(text, folder)[0].startswith(expected)


def test_no_yaml_is_another_error(folder):
    """What is no document at all is refused before it is read as a platform file."""
    with pytest.raises(MandamusError) as caught:
        read("users: &a {}\ngroups: *a\n", folder)
    assert caught.value.code is Code.DOCUMENT_INVALID


def test_more_people_than_anyone_has_are_refused(folder):
    """Ten thousand users, groups or environments are the limit of one file."""
    text = "users:\n" + "".join(f"  u{n}:\n" for n in range(10_001))
    assert problems(text, folder) == ["2:3: more than 10000 users (split the file)"]
