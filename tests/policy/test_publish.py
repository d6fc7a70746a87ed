from __future__ import annotations

import os
from itertools import pairwise

import pytest
import sqlalchemy as sa

from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import bundle
from mandamus.store.tables.audit import audit_event
from mandamus.store.tables.policy import policy_set

GOOD = 'package mandamus.plan\n\ndeny contains "no" if input.x\n'


def findings(problems):
    return [(p.file.rpartition("/")[2], p.line, p.col, p.code) for p in problems]


def test_a_sound_set_has_no_problems(policy, write):
    """A set that compiles and can fire passes, with its tests and its data."""
    files = {
        "plan.rego": GOOD,
        "plan_test.rego": "package mandamus.plan_test\n\nimport data.mandamus.plan\n\n"
        'test_denies if "no" in plan.deny with input as {"x": true}\n',
        "data.json": '{"a": 1}',
        "README.md": "not policy",
    }
    assert policy.problems(policy.read(write(files))) == []


def test_the_digest_is_the_content(policy, write, sqlite_database, who, blobs):
    """The same files give the same set wherever they lie; publishing again adds nothing; one byte changes it."""
    with sqlite_database.begin("test") as tx:
        sources = [
            {"a.rego": GOOD, "a_test.rego": "package a_test\n", "x.txt": "no"},
            {"a_test.rego": "package a_test\n", "a.rego": GOOD},
            {"a.rego": GOOD + "\n"},
        ]
        first, again, other = (policy.publish(tx, who, policy.read(write(files)), "base") for files in sources)
    assert first == again
    assert first.files == ("a.rego", "a_test.rego")
    assert first.digest != other.digest
    with sqlite_database.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(policy_set)) == 2
        assert conn.scalar(sa.select(sa.func.count()).select_from(audit_event)) == 2
    unpacked = bundle.unpack(blobs.get(first.digest))
    assert [(entry.point, entry.rule) for entry in unpacked.entries] == [("plan", "mandamus.plan.deny")]
    assert [path for path, _ in unpacked.modules] == ["a.rego"]


def test_every_syntax_error_is_told_at_once(policy, write):
    """Each file's errors are listed with file, line and column of the place OPA points at."""
    files = {
        "a.rego": "package mandamus.plan\n\nx := 1 +\n\ny := [1\n",
        "b.rego": "package mandamus.plan\n\nimport rego.v1\n\n\tdeny[msg] { msg := 1 }\n",
        "c.rego": GOOD,
    }
    assert findings(policy.problems(policy.read(write(files)))) == [
        ("a.rego", 5, 3, "rego_parse_error"),
        ("b.rego", 5, 2, "rego_parse_error"),
        ("b.rego", 5, 2, "rego_parse_error"),
    ]


@pytest.mark.parametrize(
    ("rule", "line", "col", "code"),
    [
        ('deny contains "x" if {\n\ty == 1\n}', 4, 2, "rego_unsafe_var_error"),
        ('deny contains "x" if nobody(1)', 3, 1, "rego_type_error"),
        ("deny contains x if some x in again\nagain := deny", 3, 1, "rego_recursion_error"),
        ('deny contains "x" if 1 == "a"', 3, 1, "rego_type_error"),
    ],
)
def test_compile_errors_have_a_place(policy, write, rule, line, col, code):
    """What OPA's compiler refuses is a finding with the file, the line and OPA's own code."""
    problems = policy.problems(policy.read(write({"sub/p.rego": f"package mandamus.plan\n\n{rule}\n"})))
    assert ("p.rego", line, col, code) in findings(problems)
    assert all(p.file.endswith("sub/p.rego") for p in problems)


def test_an_error_in_a_test_file_counts(policy, write):
    """A test that does not compile stops the set, although tests do not judge."""
    files = {"p.rego": GOOD, "p_test.rego": "package t\n\ntest_x if nobody(1)\n"}
    problems = policy.problems(policy.read(write(files)))
    assert findings(problems) == [("p_test.rego", 3, 1, "rego_type_error")]


def test_publish_raises_with_every_line(policy, write, sqlite_database, who):
    """Publishing a bad set raises policy_invalid whose text is one line per finding, and stores nothing."""
    with pytest.raises(MandamusError) as caught, sqlite_database.begin("test") as tx:
        policy.publish(tx, who, policy.read(write({"a.rego": "package mandamus.plan\n\nx := \n", "b.rego": "package"})))
    assert caught.value.code is Code.POLICY_INVALID
    assert "a.rego:4:4: rego_parse_error" in caught.value.message
    assert "b.rego:1:" in caught.value.message
    assert len(caught.value.context["problems"]) == len(caught.value.message.splitlines())
    with sqlite_database.read() as conn:
        assert conn.scalar(sa.select(sa.func.count()).select_from(policy_set)) == 0


FORBIDDEN = [
    ('deny contains "x" if http.send({"method": "get", "url": "http://a"}).status_code == 200', 3, 22),
    ('deny contains "x" if net.lookup_ip_addr("a.example")', 3, 22),
    ('deny contains "x" if rand.intn("a", 3) == 1', 3, 22),
    ('deny contains "x" if uuid.rfc4122("a") == "b"', 3, 22),
    ('deny contains "x" if opa.runtime().env', 3, 22),
    ('deny contains "x" if input.f("rand.intn()")\n\nt := [rand.intn("a", 3) | true]', 5, 7),
    ('f(x, y) := x\ndeny contains "x" if f(1, 2) == 2 with f as rand.intn', 4, 45),
    ('deny contains "x" if f(1)\nf(x) if x == 1 with http.send as 3', 4, 21),
    ('deny contains $"{opa.runtime()}"', 3, 18),
    ('deny contains "x" if {\n\tevery a in [1] { a < rand . intn("a", 3) }\n}', 0, 0),
    ('deny contains "x" if http["send"]({"method": "get", "url": "http://a"})', 3, 22),
    ('deny contains "x" if http["\\u0073end"]({"method": "get", "url": "http://a"})', 3, 22),
    ('deny contains "x" if count([a | a := {"k": {rand.intn("a", 1)}}]) > 0', 3, 45),
    ('deny contains "x" if io.jwt.decode_verify(input.t, {"secret": "a"})[0]', 3, 22),
]


@pytest.mark.parametrize(("rule", "line", "col"), FORBIDDEN)
def test_a_builtin_that_is_not_reproducible_is_refused(policy, write, rule, line, col):
    """I/O and randomness are refused wherever they are written, with their place."""
    problems = policy.problems(policy.read(write({"p.rego": f"package mandamus.plan\n\n{rule}\n"})))
    if line == 0:
        assert problems
    else:
        assert ("p.rego", line, col, "builtin_forbidden") in findings(problems)


def test_an_import_does_not_hide_a_builtin(policy, write):
    """A set's own function under a forbidden name is refused too, so that no shadowing can hide the real one."""
    files = {
        "p.rego": 'package mandamus.plan\n\nimport data.lib.rand\n\ndeny contains "x" if rand.intn(input) > 1\n',
        "lib.rego": "package lib.rand\n\nintn(x) := x.n\n",
    }
    assert findings(policy.problems(policy.read(write(files)))) == [("p.rego", 5, 22, "builtin_forbidden")]


def test_text_that_only_looks_like_a_builtin_is_fine(policy, write):
    """Strings, comments and fields of the input are not calls."""
    rules = """package mandamus.plan

# http.send is not allowed
deny contains "http.send is not allowed" if {
	input.http.send == `time.now_ns()`
	print("x", input.x)
	trace("told")
}
"""
    assert policy.problems(policy.read(write({"p.rego": rules}))) == []


def test_tests_may_use_what_rules_may_not(policy, write):
    """A test may replace a forbidden builtin; only what judges must be reproducible."""
    test = 'package t\n\ntest_x if { data.mandamus.plan.deny with http.send as {"status": 1} }\n'
    assert policy.problems(policy.read(write({"p.rego": GOOD, "p_test.rego": test}))) == []


@pytest.mark.parametrize(
    ("files", "code", "line", "hint"),
    [
        ({}, "entry_point_missing", 1, "package mandamus.plan"),
        ({"p_test.rego": GOOD}, "entry_point_missing", 1, "package mandamus.plan"),
        ({"p.rego": "# a\npackage terraform.plans\n\ndeny contains 1\n"}, "entry_point_missing", 2, "mandamus.plan"),
        ({"p.rego": "package mandamus.plan\n\nallow := true\n"}, "entry_point_missing", 1, "did you mean"),
        ({"p.rego": "package mandamus.plans\n\ndeny contains 1\n"}, "entry_point_unknown", 1, "`mandamus.plan.deny`"),
        ({"p.rego": GOOD + "\ndenys contains 1\n"}, "entry_point_unknown", 5, "`mandamus.plan.deny`"),
        ({"p.rego": "package mandamsu.apply\n\nwarn contains 1\n"}, "entry_point_unknown", 1, "`mandamus.apply.warn`"),
        ({"p.rego": "package mandamus.plan\n\nrequires_approval contains 1\n"}, "entry_point_unknown", 3, "approval"),
    ],
)
def test_a_set_that_can_never_fire_is_refused(policy, write, files, code, line, hint):
    """A set that gives no point anything to say, or nearly does, is told what was probably meant."""
    (problem,) = policy.problems(policy.read(write(files)))
    assert (problem.code, problem.line) == (code, line)
    assert hint in problem.remedy
    assert problem.message


def test_links_do_not_leave_the_set(policy, write, tmp_path):
    """A link inside the set is followed; one that leaves it, or names a folder, is refused."""
    outside = tmp_path / "secret.rego"
    outside.write_text(GOOD)
    directory = write({"real.rego": GOOD, "sub/x.rego": "package lib.x\n"})
    (directory / "inside.rego").symlink_to("real.rego")
    assert policy.problems(policy.read(directory)) == []
    (directory / "leaves.rego").symlink_to(outside)
    (directory / "gone.rego").symlink_to(directory / "nothing.rego")
    (directory / "round.rego").symlink_to("round.rego")
    (directory / "folder").symlink_to(tmp_path)
    codes = {p.file.rpartition("/")[2]: p.code for p in policy.problems(policy.read(directory))}
    assert codes == {
        "leaves.rego": "link_refused",
        "gone.rego": "file_invalid",
        "round.rego": "file_invalid",
        "folder": "link_refused",
    }


def test_files_that_are_no_policy_text(policy, write):
    """NUL, other encodings, pipes, huge files and odd names are findings, not crashes."""
    directory = write({"good.rego": GOOD, "nul.rego": "package a\n\nx := `\0`\n", "a:1.rego": "package a\n"})
    (directory / "latin.rego").write_bytes(b"package a\n# \xe9\n")
    (directory / "big.rego").write_bytes(b"#" * (bundle.FILE_BYTES_MAX + 1))
    os.mkfifo(directory / "pipe.rego")
    problems = policy.problems(policy.read(directory))
    assert {p.code for p in problems} == {"file_invalid"}
    assert sorted(p.file.rpartition("/")[2].strip("'") for p in problems) == [
        "a:1.rego",
        "big.rego",
        "latin.rego",
        "nul.rego",
        "pipe.rego",
    ]
    assert next(p for p in problems if p.file.endswith("nul.rego")).line == 3


def test_a_missing_directory_is_told(policy, tmp_path):
    """A directory that is not there is a finding that names it."""
    problems = policy.problems(policy.read(tmp_path / "nothing"))
    assert problems[0].code == "file_invalid"
    assert str(tmp_path / "nothing") in str(problems[0])


@pytest.mark.parametrize(
    "files",
    [
        {"data.json": "[1]"},
        {"data.json": '{"a": 1, "a": 2}'},
        {"data.json": '{"a": '},
        {"data.json": '{"mandamus": {"plan": {"deny": []}}}'},
        {"mandamus/data.json": "{}"},
        {"data.json": '{"a": {"b": 1}}', "a/data.json": '{"b": 2}'},
    ],
)
def test_data_that_says_two_things_is_refused(policy, write, files):
    """Data must be an object, say each thing once, and may not stand where the rules stand."""
    problems = policy.problems(policy.read(write({"p.rego": GOOD, **files})))
    assert [p.code for p in problems] == ["data_invalid"]


def test_lines_of_problems_do_not_depend_on_order(policy, write):
    """Findings come sorted by file, so that two checks of one directory read the same."""
    files = {f"{name}.rego": "package mandamus.plan\n\nx := \n" for name in "cab"}
    found = [p.file for p in policy.problems(policy.read(write(files)))]
    assert all(a <= b for a, b in pairwise(found))
