"""Home and the inbox: what needs somebody, at one glance."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa

from mandamus.kernel import canonical
from mandamus.store.tables.policy import decision
from mandamus.store.tables.runs import run as run_table
from mandamus.store.tables.runs import step as step_table


def section(text: str, title: str) -> str:
    """The section of a page under this title."""
    return next(each for each in re.findall(r"<section.*?</section>", text, re.DOTALL) if f"<h2>{title}" in each)


def rows(text: str) -> set[str]:
    """The runs that a section lists."""
    return set(re.findall(r"run_[0-9a-z]{26}", text))


def test_home_says_what_needs_somebody(visit, runs):
    """What waits for the visitor, what is under way, and what went wrong, each with the way to all of it."""
    text = visit("grace").get("/").text
    assert runs["waiting"] in rows(section(text, "Waiting for you"))
    assert runs["waiting"] in rows(section(text, "Under way"))
    assert runs["denied"] in rows(section(text, "Failed, denied or rejected"))
    assert "/runs?state=denied" in section(text, "Failed, denied or rejected")
    ada = visit("ada").get("/").text
    assert "Nobody waits for your word" in section(ada, "Waiting for you")
    assert "Nobody knows how these ended" not in text


def test_home_says_what_nobody_knows_the_end_of(place, visit):
    """A run with an indeterminate effect is neither under way nor failed, and asks to be settled."""
    run = place.run()
    with place.house.rooms.db.begin("test") as tx:
        tx.conn.execute(run_table.update().where(run_table.c.id == run).values(state="indeterminate"))
    text = visit("grace").get("/").text
    assert rows(section(text, "Nobody knows how these ended")) == {run}
    assert run not in rows(section(text, "Under way"))
    with place.house.rooms.db.begin("test") as tx:
        tx.conn.execute(run_table.update().where(run_table.c.id == run).values(state="succeeded"))


def test_home_says_what_drifted(place, visit, runs):
    """What the newest plan found changed outside; without any it says how to look."""
    assert "mandamus plan" in section(visit("grace").get("/").text, "Drifted")
    run = place.run(asked=True)
    wanted = sa.and_(step_table.c.run == run, step_table.c.name == "change")
    with place.house.rooms.db.begin("test") as tx:
        plan = canonical.loads(tx.conn.scalar(sa.select(step_table.c.plan).where(wanted)))
        drifted = canonical.dumps({**plan, "drift": 3})
        tx.conn.execute(step_table.update().where(wanted).values(plan=drifted))
    text = section(visit("grace").get("/").text, "Drifted")
    assert rows(text) == {run}
    assert "3 changed outside, found in change" in text
    place.run()
    assert run not in section(visit("grace").get("/").text, "Drifted")


def test_home_says_what_was_held_back(place, visit, runs):
    """A denial at the point of the apply is shown with the words of the rule, as long as it is news."""
    title = "Held back right before the apply"
    assert "No freeze and no window" in section(visit("grace").get("/").text, title)
    frozen = {"rule": "apply.deny", "msg": "dev is frozen: year's end"}
    with place.house.rooms.db.begin("test") as tx:
        row = tx.conn.execute(sa.select(decision).where(decision.c.run == runs["waiting"]).limit(1)).one()._asdict()
        result = canonical.loads(row["result"])
        violation = {"level": "hard-mandatory", **dict.fromkeys(("remedy", "file", "set", "address"), ""), "line": 0}
        result["violations"] = [{**violation, **frozen}]
        made = {"id": "dec_" + "7" * 26, "point": "apply", "outcome": "deny", "result": canonical.dumps(result)}
        tx.conn.execute(decision.insert().values({**row, **made}))
    text = section(visit("grace").get("/").text, title)
    assert "dev is frozen: year" in text
    assert "/policies/decisions/dec_" in text
    with place.house.rooms.db.begin("test") as tx:
        old = decision.update().where(decision.c.id == made["id"]).values(at_us=0)
        tx.conn.execute(old)
    assert "dev is frozen" not in visit("grace").get("/").text
    with place.house.rooms.db.begin("test") as tx:
        tx.conn.execute(decision.delete().where(decision.c.id == made["id"]))


def test_the_inbox_shows_what_is_asked(place, visit, monkeypatch):
    """Who asks, why, what would change, what policy says, until when; what one made oneself waits for others."""
    run = place.run(asked=True, reason="More room")
    text = visit("grace").get("/approvals").text
    found = next(each for each in re.findall(r"<section.*?</section>", text, re.DOTALL) if run in each)
    for words in ("<strong>ada</strong>", "More room", "1 to run", "changes are looked at", "until", "Look and decide"):
        assert words in found, words
    ada = visit("ada").get("/approvals").text
    assert run in rows(section(ada, "Yours, waiting for others"))
    assert f"/runs/{run}/steps/change/decide" not in ada
    monkeypatch.setattr("mandamus.web.decide.LIMIT", 1)
    client, address, seen = visit("grace"), "/approvals", []
    while address:
        text = client.get(address).text
        seen += re.findall(r'href="/runs/(run_[0-9a-z]{26})/steps/change/decide"', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        address = f"/approvals{following[1]}" if following else ""
    inbox = place.house.runs.inbox(place.house.identity.active("grace"))
    assert seen == [view.run.id for view in inbox]


@pytest.mark.parametrize("user", ["grace", "ada"])
def test_the_page_of_a_decision_says_all_of_it(place, visit, user):
    """Risk, changes, policy, who else, what the digest is made of; whoever may decide has a form and a second yes."""
    run = place.run(asked=True)
    text = visit(user).get(f"/runs/{run}/steps/change/decide").text
    assert "nothing is destroyed" in text
    assert "cannot say what it will do" in text
    assert "Nobody has decided yet" in text
    binding = place.house.runs.show(place.house.who, run).steps[1].binding
    for value in (binding.digest, binding.source, binding.artifact, binding.change_set):
        assert value in text
    assert ('data-sure="sure"' in text) is (user == "grace")
    assert ('<dialog id="sure"' in text) is (user == "grace")
    assert ("nobody approves what they made" in text) is (user == "ada")
