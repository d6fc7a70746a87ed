"""A sample depends on the log and the seed alone, and its report says what was found of every drawn run."""

from __future__ import annotations

import hashlib
import json
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from mandamus.audit.kinds import Kind
from mandamus.evidence import sample
from mandamus.evidence.brief import brief
from mandamus.evidence.controls import CONTROLS
from mandamus.evidence.sampling import Closed, draw, key
from mandamus.kernel.access import MEMBER, Area, Grant
from mandamus.kernel.errors import MandamusError

RUNS = [Closed(f"run_{n:026}", n) for n in range(200)]


def test_the_draw_can_be_made_again_by_hand():
    """Whoever has the run ids and the seed draws the same with sha256sum and sort, whatever order they come in."""
    drawn = draw(RUNS, "7391", 25)
    again = sorted(RUNS, key=lambda run: hashlib.sha256(b"7391\n" + run.run.encode() + b"\n").hexdigest())
    assert [one.closed for one in drawn] == again[:25]
    assert [one.closed for one in draw(reversed(RUNS), "7391", 25)] == again[:25]
    assert [one.rank for one in drawn] == list(range(1, 26))
    shell = subprocess.run(
        ["/bin/sh", "-c", f"printf '%s\\n%s\\n' 7391 {drawn[0].closed.run} | sha256sum"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shell.stdout.split()[0] == drawn[0].key == key("7391", drawn[0].closed.run)


def test_a_larger_sample_holds_the_smaller_one_and_seeds_differ():
    """So an auditor may ask for more later; and nobody knows the sample before the seed."""
    few, more = draw(RUNS, "a", 10), draw(RUNS, "a", 60)
    assert more[:10] == few
    assert {one.closed for one in draw(RUNS, "b", 10)} != {one.closed for one in few}
    assert len(draw(RUNS, "a", 1000)) == len(RUNS)
    counts = dict.fromkeys(RUNS, 0)
    for seed in range(400):
        for one in draw(RUNS, str(seed), 20):
            counts[one.closed] += 1
    # 40 expected of each; the chance that any of 200 leaves this band is below one in a million.
    assert all(8 < count < 80 for count in counts.values())


def test_the_population_is_what_the_log_says(room, person, clock):
    """Runs that ended in the period, once each; not those that are open, nor those before or after."""
    before = room.begin().asked().denied().closed("denied")
    clock.advance(1)
    since = clock.now_us()
    inside = [room.begin().asked().denied().closed("denied") for _ in range(3)]
    room.begin().asked()
    clock.advance(1)
    until = clock.now_us()
    after = room.begin().asked().denied().closed("denied")
    checkpoint, found = room.evidence.population(person("ada"), since, until)
    assert [closed.run for closed in found] == sorted(scribe.run for scribe in inside)
    for closed in found:
        assert json.loads(room.leaves(closed.run)[-1].bytes)["kind"] == "run.closed"
        assert room.leaves(closed.run)[-1].index == closed.leaf < checkpoint.size
    _, everything = room.evidence.population(person("ada"), 0, until + 10**12)
    assert {closed.run for closed in everything} == {scribe.run for scribe in (before, *inside, after)}


def test_the_report_tells_every_drawn_run(room, governed, sealed, bench, tmp_path):
    """Proved runs with who, what and the leaves of each control; others with what is wrong."""
    denied = room.begin().asked().denied().closed("denied")
    found = []
    checkpoint, population = room.evidence.population(governed.requester, 0, 10**18)
    scribes = {governed.run: governed, denied.run: denied}
    for drawn in draw(population, "s", 5):
        path = tmp_path / f"{drawn.closed.run}.zip"
        path.write_bytes(sealed(scribes[drawn.closed.run]))
        _, told = brief(path, bench.vkey)
        found.append(sample.Found(drawn, path.name, "ok", (), told))
    lost = draw([Closed("run_lost", 3)], "s", 1)[0]
    found.append(sample.Found(lost, "", "incomplete", ("there is no bundle: <b>gone</b>",), None))
    told = sample.report(sample.Asked(0, 10**15, 5, "s"), checkpoint, population, found)
    assert json.loads(json.dumps(told, default=str))["proved"] == 2
    assert [one["run"] for one in told["population"]] == sorted(scribes)
    page = sample.render(told).decode()
    text = " ".join(ET.fromstring(page.split("\n", 1)[1]).itertext())  # noqa: S314 - our own page
    for said in (governed.run, denied.run, "grace: yes", "nobody was asked", "there is no bundle: <b>gone</b>"):
        assert said in text, said
    assert all(control.id in text for control in CONTROLS)
    assert "2 of 3" in text
    assert "<script" not in page


def test_a_run_shows_its_controls(governed, sealed, bench, tmp_path):
    """Each control names the leaves of this run, and each leaf is of the kind that shows it."""
    path = tmp_path / "bundle.zip"
    path.write_bytes(sealed(governed))
    _, told = brief(path, bench.vkey)
    files = bench.files(path.read_bytes())
    kinds = {leaf: json.loads(files[f"events/{leaf}.json"])["kind"] for leaf in told["proof"]["leaves"]}
    change = next(row for row in told["controls"] if row["id"] == "CC8.1")["facts"]
    assert [kinds[leaf] for leaf in change["approval"]] == ["approval.recorded"]
    assert {kinds[leaf] for leaf in change["effect"]} == {"effect.intended"}
    assert len(change["effect"]) == 2
    record = next(row for row in told["controls"] if row["id"] == "AU-3")["facts"]["record"]
    assert record == told["proof"]["leaves"]


def test_a_reader_of_one_project_samples_and_exports_that_and_no_other(room, person, tmp_path):
    """Of two projects each reader's population is their own runs, and another's bundle is as if it were not there."""
    runs = {}
    for project in ("payments", "shop"):
        scribe = room.begin(project=project).asked().denied().closed("denied")
        room.evidence.seal(person("ada"), scribe.parts())
        runs[project] = scribe.run
    for mine, other in (("payments", "shop"), ("shop", "payments")):
        reader = replace(person("eve"), permissions=MEMBER, grants=(Grant("member", MEMBER, Area(frozenset({mine}))),))
        _, found = room.evidence.population(reader, 0, 10**18)
        assert [closed.run for closed in found] == [runs[mine]]
        room.evidence.export(reader, runs[mine], tmp_path / f"{mine}.zip")
        with pytest.raises(MandamusError, match=f"no evidence of {runs[other]} that you may read"):
            room.evidence.export(reader, runs[other], tmp_path / "other.zip")
        assert not (tmp_path / "other.zip").exists()
    _, found = room.evidence.population(person("ada"), 0, 10**18)
    assert {closed.run for closed in found} == set(runs.values())
    told = room.audit.told(Kind.EVIDENCE_EXPORTED)
    assert [leaf["project"] for leaf in told] == ["payments", "shop"]
