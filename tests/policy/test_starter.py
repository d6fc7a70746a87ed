"""The starter set: its own tests pass in OPA, each rule is held by them, and what is said of it is what it does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError
from mandamus.policy import attribution, bundle, check, starter, testing, testing_files
from mandamus.policy.model import Outcome, Point
from mandamus.policy.testing_model import BAD

PAGE = Path(__file__).parents[2] / "docs/reference/starter-policies.md"
RULES = sorted(path.stem for path in (starter.FOLDER / "rules").glob("*.rego") if not path.stem.endswith("_test"))
CPU_MS_MAX = 25.0
READING_MS = 9.0
"""What reading that input alone takes when nothing else runs."""
_METADATA = re.compile(r"# METADATA\n((?:#.*\n)+)")
_SAID = re.compile(r'report\.(?:violation|unknown|ask|ask_unknown)\(\s*"([^"]+)", "([^"]+)"')


def metadata(rule):
    """What the annotation of a rule says."""
    text = (starter.FOLDER / "rules" / f"{rule}.rego").read_text()
    (found,) = _METADATA.findall(text)
    return yaml.safe_load("\n".join(line.removeprefix("#").removeprefix(" ") for line in found.splitlines()))


@pytest.fixture(scope="module")
def session(pool):
    """A worker of one's own, for many loads."""
    with pool.session() as worker:
        yield worker


@pytest.fixture(scope="module")
def failing(session):
    """The names of the tests in a package that do not give true, with some modules changed."""
    files = dict(starter.files())
    data = bundle.data_of(files)

    def run(package, changed):
        modules = {p: t for p, t in {**files, **changed}.items() if p.endswith(".rego") and t}
        tests = re.findall(r"^(test_\w+)", files[f"rules/{package}.rego"], re.MULTILINE)
        query = "{" + ", ".join(f'"{test}": [v | v := data.{package}.{test}]' for test in tests) + "}"
        refused = session.load(query, data, list(modules.items()))
        assert refused is None, refused
        reply = session.ask(b"{}")
        assert reply.refusal is None, reply.refusal
        return {test for test, given in reply.value.items() if given != [True]}

    return run


def test_its_tests_pass(pool):
    """Every test_* rule of the set is true in the real OPA, and every rule has at least four, beside it."""
    report = testing.run(
        testing_files.read([starter.FOLDER]), pool, testing.Settings(), time.monotonic, lambda _done, _total: None
    )
    assert report.ok, [tested.title for tested in report.tests if tested.result in BAD]
    counts = {Path(path).stem: sum(counts.values()) for path, counts in report.by_file()}
    assert all(counts[f"{rule}_test"] >= 4 for rule in RULES), counts


def test_it_can_be_published(pool):
    """The check before publishing finds nothing, neither problems nor warnings; it speaks at every point it should."""
    found = check.check(bundle.read(starter.FOLDER), pool)
    assert (found.problems, found.warnings) == ((), ())
    assert {entry.point for entry in found.entries} == {"trigger", "step", "plan", "apply", "approval"}


@pytest.mark.parametrize("rule", RULES)
def test_without_the_rule_its_tests_fail(failing, rule):
    """Take a rule's file away, and tests beside it fail; with it they pass."""
    assert failing(f"{rule}_test", {}) == set()
    assert failing(f"{rule}_test", {f"rules/{rule}.rego": ""})


def heads():
    """Every head that gives members, by file and number."""
    names = frozenset(f"mandamus.{point}.{kind}" for point in Point for kind in ("deny", "require_approval"))
    for rule in RULES:
        path = f"rules/{rule}.rego"
        for number, head in enumerate(attribution.heads(path, starter.files()[path], names)):
            yield pytest.param(rule, head, id=f"{rule}-{number}")


@pytest.mark.slow
@pytest.mark.parametrize(("rule", "head"), list(heads()))
def test_without_one_head_its_tests_fail(failing, rule, head):
    """Each head alone is held by a test: under another name it is missed."""
    text = starter.files()[head.file]
    assert failing(f"{rule}_test", {head.file: text[: head.name.at] + "left_out" + text[head.name.end :]})


@pytest.mark.parametrize("rule", RULES)
def test_the_annotation_is_what_the_rule_says(rule):
    """Title, description, and the rule's name and control exactly as every member carries them."""
    said = metadata(rule)
    assert said["title"]
    assert said["description"]
    text = (starter.FOLDER / "rules" / f"{rule}.rego").read_text()
    assert set(_SAID.findall(text)) == {(said["custom"]["rule"], said["custom"]["control"])}


def test_the_page_is_what_the_set_says():
    """The reference has a row for each rule's file, with title and control, and names every setting of data.json."""
    page = PAGE.read_text()
    for rule in RULES:
        said = metadata(rule)
        assert f"| `{rule}` | {said['title']} | {said['custom']['control']} |" in page, rule
    data = json.loads(starter.files()["data.json"])["starter"]
    settings = {*data, *(setting for rule in data["rules"].values() for setting in rule)}
    assert not [setting for setting in sorted(settings) if f"`{setting}`" not in page]


def test_a_no_names_rule_control_address_and_remedy(decide, publish):
    """A violation carries where it stands, what it is about, what to do, and the control it serves."""
    verdict = decide(document(change("aws_ebs_volume", {"encrypted": False})), [publish(starter.files())])
    assert verdict.outcome is Outcome.DENY
    assert verdict.error is None
    (found,) = verdict.violations
    assert (found.file, found.address) == ("rules/encryption_at_rest.rego", "aws_ebs_volume.x")
    assert found.remedy
    assert (found.meta["rule"], found.meta["control"]) == ("encryption_at_rest", "NIST-800-53 SC-28")


def test_strange_values_are_judged_and_break_nothing(session, made):
    """Values of types that nobody expects never end in an error, so never in a no that says nothing."""
    prepared = made(starter.files())
    assert session.load(prepared.query, prepared.data, prepared.modules) is None
    strange = [None, True, 3, "x", "", [], {}, [None], {"a": [1]}, [[1]], {"Statement": 3}, "not json", "{}"]
    tables = json.loads(starter.files()["data.json"])["starter"]["rules"]
    names = {"aws_security_group", "azurerm_network_security_rule", "google_compute_firewall", "http", "bucket"}
    fields = {"ingress", "tags", "labels", "region", "metadata", "input", "rules", "json", "roleRef", "allow", "acl"}
    for table in ("types", "blocks", "keys", "documents", "broad"):
        for kind, paths in (pair for rule in tables.values() for pair in rule.get(table, {}).items()):
            names.add(kind)
            fields |= {path.split(".")[0] for path in paths}
    for value in strange:
        changes = [change(name, dict.fromkeys(sorted(fields), value)) for name in sorted(names)]
        reply = session.ask(canonical.dumps({**document(*changes), "point": "plan", "now": "2026-07-01T12:00:00Z"}))
        assert reply.refusal is None, (value, reply.refusal)


def test_it_is_written_once(tmp_path):
    """The command writes the set as it is, says what next, and refuses to overwrite it."""
    command = [sys.executable, "-m", "mandamus", "policy", "starter", "rules/base"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert first.returncode == 0, first.stderr
    assert "mandamus policy test rules/base" in first.stdout + first.stderr
    written = {p.relative_to(tmp_path / "rules/base").as_posix() for p in (tmp_path / "rules/base").rglob("*.*")}
    assert written == set(starter.files())
    (tmp_path / "rules/base/data.json").write_text("{}")
    again = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode != 0
    assert "already has" in again.stderr
    assert (tmp_path / "rules/base/data.json").read_text() == "{}"


def test_a_single_file_in_the_way_stops_it(tmp_path):
    """Nothing is written when one file is there, whichever it is."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "cost_limit.rego").write_text("mine")
    with pytest.raises(MandamusError) as raised:
        starter.write(tmp_path)
    assert raised.value.code is Code.CONFLICT
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["cost_limit.rego"]


@pytest.mark.slow
def test_a_large_plan_costs_little(pool, made):
    """The whole set on a plan of 200 changes takes at most 25 ms of CPU, the reading of its 220 kB included."""
    prepared = made(starter.files())
    data = large_plan()
    assert 200_000 < len(data) < 240_000
    with pool.session() as worker:
        assert worker.load(prepared.query, prepared.data, prepared.modules) is None
        pid = worker._process.pid
        whole = min(_cpu_of(pid, lambda: worker.ask(data)) for _ in range(10))
        assert worker.load("input.point", b"", []) is None
        reading = min(_cpu_of(pid, lambda: worker.ask(data)) for _ in range(10))
    # Where a busy machine makes reading alone dearer, it makes the whole dearer in the same measure.
    assert whole <= CPU_MS_MAX * max(1.0, reading / READING_MS), f"{whole:.1f} ms, of which {reading:.1f} ms is reading"


def _cpu_of(pid, ask, times=20):
    """CPU milliseconds of a process for one of several questions."""
    before = _ticks(pid)
    for _ in range(times):
        reply = ask()
        assert reply.refusal is None
    return (_ticks(pid) - before) / times


def _ticks(pid):
    """Milliseconds that all threads of a process have run."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


def change(kind, after, **more):
    """One change as the platform writes it."""
    return {
        "address": f"{kind}.x",
        "type": kind,
        "name": "x",
        "action": "create",
        "mode": "managed",
        "destructive": False,
        "before": None,
        "after": after,
        "unknown": [],
        "confidence": "exact",
        "scope": None,
        **more,
    }


def document(*changes):
    """A plan in an environment that is not production."""
    return {
        "run": {"id": "run_1", "workflow": "w", "environment": "dev", "requester": {"user": "ada"}, "makers": ["ada"]},
        "environment": {"name": "dev", "protected": False, "vars": {}},
        "step": {"name": "s", "executor": "terraform", "attempt": 1},
        "change_set": {"complete": True, "fidelity": "exact", "changes": list(changes)},
    }


def large_plan():
    """200 changes of AWS resources that satisfy every rule, all made or changed, with the unknowns of a first apply."""
    tags = {"owner": "team", "environment": "dev", "cost-center": "1234"}
    allow = {"Statement": [{"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": "arn:aws:s3:::b/*"}]}
    port = {"cidr_blocks": ["10.0.0.0/8"], "from_port": 443, "to_port": 443, "protocol": "tcp", "description": ""}
    kinds = {
        "aws_security_group": {"ingress": [port, port], "vpc_id": "vpc-1"},
        "aws_s3_bucket": {"bucket": "b", "acl": None},
        "aws_db_instance": {"instance_class": "db.t3.large", "allocated_storage": 100, "storage_encrypted": True},
        "aws_ebs_volume": {"size": 100, "encrypted": True, "availability_zone": "eu-west-1a"},
        "aws_iam_policy": {"name": "p", "policy": json.dumps(allow)},
        "aws_instance": {"instance_type": "t3.micro", "root_block_device": [{"encrypted": True}]},
        "aws_sns_topic": {"name": "t", "kms_master_key_id": "k"},
        "aws_lambda_function": {"function_name": "f", "memory_size": 128},
    }
    unknown = ["/id", "/arn", "/owner_id", "/hosted_zone_id", "/bucket_domain_name", "/private_dns", "/private_ip"]
    rest = {"tags": tags, "tags_all": tags, "region": "eu-west-1", "description": "y" * 350}
    changes = []
    for number in range(200):
        kind = list(kinds)[number % len(kinds)]
        made = change(kind, {**kinds[kind], **rest}, unknown=unknown, sensitive=[], diff=[], module=f"module.m{number}")
        made |= {
            "address": f"module.m{number}.{kind}.x",
            "action": "update" if number % 2 else "create",
            "index": number,
        }
        made |= {"provider": "registry.terraform.io/hashicorp/aws", "source": f"modules/m/main.tf:{number}"}
        changes.append(made)
    plan = {**document(*changes), "point": "plan", "now": "2026-07-01T12:00:00.000000Z"}
    return canonical.dumps(plan)
