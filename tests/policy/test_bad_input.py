"""Bad input of every kind: an error with its place, a deny where it is a decision, and the service goes on."""

from __future__ import annotations

import io
import os
import tarfile
import time
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mandamus.kernel import canonical
from mandamus.kernel.attachment import Attached
from mandamus.kernel.ids import Ids
from mandamus.policy import signature, tarball
from mandamus.policy.bundle import FILES_MAX, TOTAL_BYTES_MAX
from mandamus.policy.model import Outcome, Point
from mandamus.policy.pool import Limits
from mandamus.policy.rego_depth import NESTED_MAX
from mandamus.policy.replay import Lanes, program
from mandamus.policy.service import INPUT_DEPTH_MAX, Policy

CALM = 'package mandamus.plan\n\ndeny contains "no" if input.never\n'
LARGE = (1 << 53) + 1


@pytest.fixture
def goes_on(decide, publish):
    """Asks the same service in the same process for a decision that is an allow, and one that is a deny."""
    digest = publish({"p.rego": CALM})

    def check():
        assert decide({}, [digest]).outcome is Outcome.ALLOW
        assert decide({"never": True}, [digest]).outcome is Outcome.DENY

    return check


@pytest.fixture
def told(policy, write, goes_on):
    """The problems of a set that cannot be published, as ``file:line code``; the service goes on."""

    def problems(files):
        folder = write(files)
        found = policy.problems(policy.read(folder))
        goes_on()
        assert found
        return [f"{os.path.relpath(each.file, folder)}:{each.line} {each.code}" for each in found]

    return problems


WRONG = {
    "syntax": ("deny contains {", ["p.rego:4 rego_parse_error"]),
    "unsafe variable": ("deny contains x if x > 1", ["p.rego:3 rego_unsafe_var_error"]),
    "recursion": (
        "deny contains a if a\n\na if b\n\nb if a",
        ["p.rego:5 rego_recursion_error", "p.rego:7 rego_recursion_error"],
    ),
    "unknown function": ("deny contains nobody(1)", ["p.rego:3 rego_type_error"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_text_that_is_no_policy_has_a_line(told, name):
    """Syntax errors, unsafe variables, recursion and unknown functions."""
    text, wanted = WRONG[name]
    found = told({"p.rego": f"package mandamus.plan\n\n{text}\n"})
    assert len(found) >= len(set(wanted))
    assert all(any(line.startswith(place) for line in found) for place in wanted), found


BRACKETS = [("(", ")"), ("[", "]"), ("{", "}"), ('{"a": ', "}"), ("abs(", ")"), ("[y | y := ", "]")]


def nested(levels, brackets):
    """A module per kind of bracket; brackets in texts and comments count for nothing."""
    quoted = f'y := "{"[" * 999}"\n\nz := `{"{" * 999}`\n\n# {"(" * 999}\n'
    return {
        f"p{number}.rego": f"{CALM.replace('plan', 'step') if number else CALM}\n{quoted if not number else ''}\n"
        f"x{number} := {opens * levels}1{closes * levels}\n"
        for number, (opens, closes) in enumerate(brackets)
    }


def test_rego_nested_20000_deep_has_a_line(told):
    """What would end OPA's stack is not handed to it, and every such file is told."""
    files = nested(20_000, BRACKETS)
    assert told({**files, "q.rego": CALM}) == [
        f"p{number}.rego:{6 if number else 11} rego_parse_error" for number in range(len(BRACKETS))
    ]


def test_rego_at_the_limit_is_taken(policy, write):
    """As deep as is allowed, and not one more."""
    # Comprehensions in one another take OPA time that doubles with each.
    brackets = BRACKETS[:-1]
    assert policy.problems(policy.read(write(nested(NESTED_MAX, brackets)))) == []
    assert len(policy.problems(policy.read(write(nested(NESTED_MAX + 1, brackets))))) == len(brackets)


def test_rego_that_is_too_much_for_opa_names_the_file(told):
    """A file over which a worker ends, or whose tree nobody can read, is told beside what is wrong with the others."""
    chain = f"{CALM}\nx := 1{' + 1' * 1000}\n"
    found = told({"p.rego": chain, "q.rego": "package mandamus.plan\n\ndeny contains {\n"})
    assert found[0] == "p.rego:1 rego_parse_error"
    assert found[1] == "q.rego:4 rego_parse_error"


def test_rego_that_ends_the_engine_names_the_file(own_pool, write, monkeypatch):
    """The next file is read by a new worker, and none is left behind."""
    pool = own_pool()
    real = pool._parsed

    def parsed(process, path, text):
        if path == "p.rego":
            os.kill(process.pid, 9)
        return real(process, path, text)

    monkeypatch.setattr(pool, "_parsed", parsed)
    seen = pool.inspect({"p.rego": CALM, "q.rego": CALM}, b"")
    assert list(seen.trees) == ["q.rego"]
    assert "p.rego:1: rego_parse_error: this file is too much for OPA" in seen.unparsed["p.rego"].message


DATA = {
    "100k deep": ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", 1),
    "a key twice": ('{\n "a": 1,\n "b": 2,\n "a": 3\n}', 4),
    "no JSON": ('{\n "a": 1,\n}', 3),
    "no object": ("[1]", 1),
    "a lone surrogate": ('{"a": "\\ud800"}', 1),
    "a lone surrogate for a key": ('{"\\udfff": 1}', 1),
    "no number": ('{"a": NaN}', 1),
    "5,000 digits": ('{"a": ' + "9" * 5000 + "}", 1),
}


def test_data_that_is_none_has_a_line(told):
    """Every data file that is wrong is named, and none that is right."""
    files = {f"{name}/data.json": text for name, (text, _) in DATA.items()}
    found = told({"p.rego": CALM, "a/data.json": '{"fine": 1}', **files})
    assert sorted(found) == sorted(f"{name}/data.json:{line} data_invalid" for name, (_, line) in DATA.items())


def test_data_that_says_two_things_names_one_of_them(told):
    """Each is right by itself, and together they are not."""
    files = {"data.json": '{"a": {"b": 1}}', "a/data.json": '{"b": 2}'}
    assert told({"p.rego": CALM, **files}) == ["data.json:1 data_invalid"]


def test_text_with_half_signs_or_nuls_has_a_line(policy, tmp_path, goes_on):
    """A NUL, and bytes that are no UTF-8, such as those of a lone surrogate."""
    (tmp_path / "nul.rego").write_bytes(f'{CALM}\nx := "\0"\n'.encode())
    (tmp_path / "half.rego").write_bytes(f'{CALM}\nx := "'.encode() + b"\xed\xa0\x80" + b'"\n')
    found = policy.problems(policy.read(tmp_path))
    assert [(Path(each.file).name, each.line, each.code) for each in found] == [
        ("half.rego", 1, "file_invalid"),
        ("nul.rego", 5, "file_invalid"),
    ]
    goes_on()


@pytest.mark.parametrize("name", ["huge.rego", "data.json"])
def test_a_file_of_2_gb_is_refused_unread(policy, tmp_path, goes_on, name):
    """It is named, and neither its time nor its memory is spent."""
    (tmp_path / "p.rego").write_text(CALM)
    with (tmp_path / name).open("wb") as file:
        file.truncate(2 << 30)
    started = time.thread_time()
    (found,) = policy.problems(policy.read(tmp_path))
    assert (Path(found.file).name, found.code) == (name, "file_invalid")
    assert time.thread_time() - started < 5
    goes_on()


def test_a_set_of_too_many_files_or_bytes_is_refused(policy, tmp_path, goes_on):
    """As many files as one likes cannot make it large, nor many."""
    many, large = tmp_path / "many", tmp_path / "large"
    many.mkdir()
    large.mkdir()
    for number in range(FILES_MAX + 100):
        (many / f"p{number}.rego").write_text(CALM)
    for number in range(6):
        with (large / f"p{number}.rego").open("wb") as file:
            file.truncate(TOTAL_BYTES_MAX // 5)
    assert "more than 2000 policy files" in policy.read(many).problems[0].message
    assert any("too large" in each.message for each in policy.read(large).problems)
    goes_on()


def test_an_input_that_is_no_json_denies(decide, publish, goes_on):
    """It denies as what it is: half a sign, a float, a key that is no text, a thing of Python's."""
    digest = publish({"p.rego": CALM})
    for document in (
        {"never": "\ud800"},
        {"\udfff": 1},
        {"x": [{"deep": "a\udc00b"}]},
        {"x": 0.1},
        {"x": float("inf")},
        {1: 2},
        {"x": object()},
        {"x": 10**5000},
    ):
        verdict = decide(document, [digest])
        assert verdict.outcome is Outcome.DENY
        assert verdict.error.startswith("input_invalid: ")
    goes_on()


def test_a_nul_in_an_input_is_a_sign_like_any_other(decide, publish):
    """It reaches the rule, is compared exactly, and comes back in what the rule says."""
    text = 'package mandamus.plan\n\ndeny contains input.x if input.x == "a\\u0000b"\n'
    digest = publish({"p.rego": text})
    assert [v.msg for v in decide({"x": "a\0b"}, [digest]).violations] == ["a\0b"]
    assert decide({"x": "a"}, [digest]).outcome is Outcome.ALLOW
    assert decide({"x": "a\0c"}, [digest]).outcome is Outcome.ALLOW


def test_a_deep_input_denies(decide, publish, goes_on):
    """From one level too many to 100,000."""
    digest = publish({"p.rego": CALM})
    for levels in (INPUT_DEPTH_MAX, 1_000, 100_000):
        value = 0
        for _ in range(levels):
            value = [value]
        verdict = decide({"x": value}, [digest])
        assert verdict.outcome is Outcome.DENY
        assert verdict.error.startswith(("input_too_deep: ", "input_invalid: "))
    goes_on()


def test_a_member_that_is_too_deep_denies(decide, publish, goes_on):
    """Nobody could record it: a warning of that form is no allow."""
    text = """package mandamus.plan

warn contains {"msg": "deep", "meta": {"x": nested}} if {
	opened := concat("", ["[" | some i in numbers.range(1, input.levels)])
	closed := concat("", ["]" | some i in numbers.range(1, input.levels)])
	nested := json.unmarshal(concat("", [opened, closed]))
}
"""
    digest = publish({"p.rego": text})
    assert decide({"levels": 50}, [digest]).outcome is Outcome.ALLOW
    for levels in (150, 300, 5_000):
        verdict = decide({"levels": levels}, [digest])
        assert verdict.outcome is Outcome.DENY
        assert verdict.error.startswith(("shape_invalid: ", "reply_invalid: "))
    goes_on()


def test_a_rule_of_a_kind_that_nobody_knows_denies(decide, publish, blobs, goes_on):
    """A later release may mean by silence what this one cannot know, such as a no."""
    document = canonical.loads(blobs.get(publish({"p.rego": CALM})))
    for entry in document["entries"]:
        entry["kind"] = "allow_only_when"
    verdict = decide({}, [blobs.put(canonical.dumps(document))])
    assert verdict.outcome is Outcome.DENY
    assert verdict.error.startswith("shape_invalid: ")
    goes_on()


ENDLESS = """package mandamus.plan

deny contains "endless" if {
	some i in numbers.range(1, 100000)
	some j in numbers.range(1, 100000)
	i * j == input.never
}
"""


def test_a_rule_that_does_not_end_is_published_and_denies(own_pool, policy_on, publish, monkeypatch):
    """Publishing evaluates no rule, or would not end; the deadline ends the decision, and the same service goes on."""
    endless, calm = publish({"p.rego": ENDLESS}), publish({"p.rego": CALM})
    pool = own_pool(decide_s=100)
    policy = policy_on(pool)

    def ask(digest):
        return policy.decide(Point.PLAN, {"never": -1}, [Attached(digest)], protected=True, now_us=0)

    with monkeypatch.context() as patch:
        patch.setattr(pool, "_limits", Limits(decide_s=0.3))
        verdict = ask(endless)
    assert verdict.outcome is Outcome.DENY
    assert verdict.error.startswith("timeout: ")
    assert ask(calm).violations[0].msg == "no"
    assert policy.decide(Point.PLAN, {}, [Attached(calm)], protected=True, now_us=0).outcome is Outcome.ALLOW


@pytest.fixture
def policy_on(sqlite_database, blobs, audit, real_clock, entropy):
    """A service on another evaluator."""
    return lambda evaluator: Policy(sqlite_database, blobs, audit, evaluator, real_clock, Ids(real_clock, entropy))


EXACT = """package mandamus.plan

deny contains sprintf("%d", [input.n]) if input.n == data.large

warn contains {"msg": "seen", "meta": {"n": input.n, "next": input.n + 1}} if input.n
"""


def test_integers_beyond_2_53_stay_exact(policy, publish, sqlite_database, who, pool):
    """Through the decision, its record, what is read back, and a replay in a batch."""
    digest = publish({"p.rego": EXACT, "data.json": canonical.dumps({"large": LARGE}).decode()})
    numbers = [LARGE - 1, LARGE, LARGE + 1, 10**40, -(10**40), Decimal("9007199254740993.5")]
    recorded = []
    for number in numbers:
        verdict = policy.decide(Point.PLAN, {"n": number}, [Attached(digest)], protected=True, now_us=0)
        assert [v.msg for v in verdict.violations] == ([str(LARGE)] if number == LARGE else [])
        assert verdict.warnings[0].meta == {"n": number, "next": number + 1}
        with sqlite_database.begin("record") as tx:
            id_ = policy.record(tx, who, verdict, None, None)
        found = policy.get(who, id_).verdict
        assert canonical.loads(found.input)["n"] == number
        assert (found.input, found.results, found.warnings) == (verdict.input, verdict.results, verdict.warnings)
        recorded.append(found)
    lanes = Lanes(pool, 1)
    bundle = policy.bundle(who, digest)
    with lanes.one() as lane:
        again = lanes.answers(lane, program(bundle, 0), bundle, [each.input for each in recorded])
    lanes.close()
    for verdict, answer in zip(recorded, again, strict=True):
        ((asked),) = canonical.loads(verdict.results)
        assert canonical.loads(str(answer).encode()) == asked["value"]


def test_a_bundle_that_is_not_as_signed_or_climbs_out_is_refused(policy, tmp_path, goes_on):
    """Nothing of it is used, nothing is written outside, and every problem names the member of the archive."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "p.rego").write_text(CALM)
    private, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    own, foreign = tmp_path / "own.pem", tmp_path / "foreign.pem"
    for path, key in ((own, private), (foreign, other)):
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        path.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    signed = tmp_path / "signed.tar.gz"
    tarball.write(policy.read(folder), signed, revision="1", sign=signature.SigningKey(private, "ES256", "ops"))
    assert policy.problems(policy.read(signed, key=own)) == []
    (found,) = policy.problems(policy.read(signed, key=foreign))
    assert (found.code, found.line) == ("signature_invalid", 1)
    climbs = tmp_path / "climbs.tar.gz"
    with tarfile.open(climbs, "w:gz") as archive:
        for name in ("p.rego", "../../outside.rego"):
            member = tarfile.TarInfo(name)
            member.size = len(CALM)
            archive.addfile(member, io.BytesIO(CALM.encode()))
    problems = policy.problems(policy.read(climbs))
    assert any("outside.rego" in each.file for each in problems)
    assert not list(tmp_path.parent.rglob("outside.rego"))
    goes_on()
