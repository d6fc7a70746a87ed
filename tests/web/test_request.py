"""The catalog and its forms: what is offered, what is typed and kept, and that one form makes one run."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from mandamus.audit.search_store import Wanted as Events
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.model import Wanted

FORM = "/catalog/storage/workflows/all.yaml"
ALL = """workflow: all
description: Takes one of each kind, and says it.
inputs:
  name:   {type: string, pattern: "^[a-z]{3,8}$", description: Whose it is}
  size:   {type: string, enum: [small, large]}
  count:  {type: integer, default: 3}
  share:  {type: number, required: false}
  public: {type: boolean, default: false}
  zones:  {type: list, required: false}
  tags:   {type: map, default: {team: core}}
  note:   {type: string, default: hello}
steps:
  look: {script: {run: 'echo looked'}}
  tell:
    needs: [look]
    if: ${{ inputs.count > 1 }}
    script: {run: 'echo "$NAME"', env: {NAME: "${{ inputs.name }}", KEY: "${{ secrets.absent }}"}}
"""
TENANT = """
users: {pam: {projects: [bank]}, kim: {role: none}}
projects: {bank: {root: %s}}
grants:
  kim-reads: {role: viewer, to: {user: kim}, projects: [storage]}
  kim-asks: {role: operator, to: {user: kim}, projects: [storage], environments: [dev]}
"""
GOOD = {
    "environment": "dev",
    "in.name": "ledger",
    "in.size": "small",
    "in.count": "12",
    "in.share": "1.50",
    "in.public": "true",
    "in.zones": '["a", 1]',
    "in.tags": '{"a": {"b": 1.5}}',
    "in.note": "two\r\nlines",
    "reason": "as agreed",
    "ticket": "CHG-17",
    "plan_only": "1",
}


@pytest.fixture(scope="module", autouse=True)
def more(place):
    """One more workflow, one that cannot run, and a project of another tenant with one of the same name."""
    folder = place.project / "workflows"
    bank = place.project.parent / "bank"
    (bank / "workflows").mkdir(parents=True)
    (bank / "workflows" / "all.yaml").write_text(ALL.replace("one of each kind", "money"))
    (folder / "all.yaml").write_text(ALL)
    (folder / "broken.yaml").write_text("workflow: broken\nsteps: {one: {}}\n")
    file = place.project.parent / "tenant.yaml"
    file.write_text(TENANT % bank)
    place.house.configure.apply(place.house.who, file)
    yield
    for each in (folder / "all.yaml", folder / "broken.yaml"):
        each.unlink()


def hidden(page: str, name: str) -> str:
    """The value of a hidden field."""
    return re.search(f'name="{name}" value="([^"]*)"', page)[1]


def send(client, path=FORM, drop=(), **fields):
    """Post the form of a page as it has it, with these fields, and without some."""
    page = client.get(path).text
    data = {"key": hidden(page, "key"), "digest": hidden(page, "digest"), **GOOD, **fields}
    return client.post(path, data={name: value for name, value in data.items() if name not in drop})


def test_the_catalog_says_what_each_workflow_does_takes_and_where_it_may_go(visit):
    """A card for each that can run; a filter by words and project stands in the address."""
    client = visit("grace")
    page = client.get("/catalog").text
    assert "Takes one of each kind, and says it." in page
    assert "takes <code>name</code>, <code>size</code>" in page
    assert re.search(r"may go to\s+dev", page)
    assert "broken" not in page
    found = client.get("/catalog", params={"text": "EACH kind", "project": "storage"}).text
    assert f'href="{FORM}"' in found
    assert "deploy.yaml" not in found
    assert "No workflow fits" in client.get("/catalog", params={"text": "none such"}).text


def test_many_workflows_come_in_pages(visit, monkeypatch):
    """The filter goes with the link to the next one; behind the last there is none."""
    monkeypatch.setattr("mandamus.web.catalog.CARDS", 1)
    client = visit("grace")
    page = client.get("/catalog", params={"project": "storage"}).text
    assert page.count("panel card") == 1
    following = re.search(r'rel="next" href="(\?[^"]*)"', page)[1].replace("&amp;", "&")
    assert "project=storage" in following
    last = client.get(f"/catalog{following}").text
    assert last.count("panel card") == 1
    assert 'rel="next"' not in last


def test_the_form_has_a_field_for_each_input_by_its_type(visit):
    """Choices for enums and booleans, lines for lists and maps, defaults that stand in them, limits in words."""
    page = visit("grace").get(FORM).text
    for part in (
        'name="in.name" value="" autocomplete="off" spellcheck="false" maxlength="4096" required',
        "Whose it is · text, at most 4096 characters; matching ^[a-z]{3,8}$",
        '<option value="small">small</option><option value="large">large</option>',
        'name="in.count" value="3" autocomplete="off" spellcheck="false" inputmode="numeric"',
        '<option value="false" selected>false</option>',
        'name="in.zones" rows="4"',
        "{&#34;team&#34;:&#34;core&#34;}</textarea>",
        "may be empty",
    ):
        assert part in page, part
    assert "not as needed" not in page
    assert len(re.findall(r'<label for="in\.', page)) == 8
    for field in re.findall(r'<(?:input|select|textarea) name="(in\.\w+|environment|reason|ticket)"[^>]*>', page):
        assert f'id="{field}-help"' in page


def test_beside_the_form_stands_what_it_will_do_and_who_must_approve(visit):
    """Steps with tools, conditions and missing secrets; sets by level; and that nobody approves their own."""
    page = visit("grace").get(FORM).text
    assert "<strong>tell</strong> runs script, after look, if <code>${{ inputs.count &gt; 1 }}</code>" in page
    assert "There is no secret <code>absent</code> here, which step tell reads" in page
    assert "hard-mandatory" in page
    assert "You ask for it, so you cannot approve it" in page


def test_a_form_becomes_a_run_with_typed_inputs(visit, place):
    """As the same inputs from a command or the API would be; then on to the page of the run."""
    answer = send(visit("grace"))
    assert answer.status_code == 303, answer.text
    run_id = answer.headers["location"].rpartition("/")[2]
    run = place.house.runs.show(place.house.who, run_id).run
    assert run.inputs == {
        "name": "ledger",
        "size": "small",
        "count": 12,
        "share": Decimal("1.50"),
        "public": True,
        "zones": ["a", 1],
        "tags": {"a": {"b": Decimal("1.5")}},
        "note": "two\nlines",
    }
    assert (run.environment, run.reason, run.ticket, run.plan_only) == ("dev", "as agreed", "CHG-17", True)
    assert (run.requester.user, run.project) == ("grace", "storage")


def test_what_is_left_empty_is_not_given(visit, place):
    """Then the default counts, or null; a text that has a default may be emptied."""
    empty = dict.fromkeys(("in.count", "in.share", "in.public", "in.zones", "in.tags", "in.note", "ticket"), "")
    answer = send(visit("grace"), drop=("plan_only",), **empty)
    run = place.house.runs.show(place.house.who, answer.headers["location"].rpartition("/")[2]).run
    assert run.inputs == {
        "name": "ledger",
        "size": "small",
        "count": 3,
        "share": None,
        "public": False,
        "zones": None,
        "tags": {"team": "core"},
        "note": "",
    }


@pytest.mark.parametrize(
    ("field", "text", "says"),
    [
        ("in.name", "", "is required"),
        ("in.name", "Ledger!", "does not match its pattern"),
        ("in.size", "medium", "choose from small, large"),
        ("in.count", "1_000", "give a whole number"),
        ("in.count", "9" * 30, "give at most"),
        ("in.share", "lots", "give a number such as 12 or 1.5"),
        ("in.public", "yes", "give true or false"),
        ("in.zones", "a, b", "give JSON such as"),
        ("in.tags", "[1]", "is a map, not a list"),
        ("in.note", "x" * 5_000, "has 5000 characters"),
        ("in.name", "<script>alert(1)</script>", "does not match its pattern"),
        ("in.zones", '"></textarea><script>alert(1)</script>', "give JSON such as"),
        ("environment", "prod", "choose where it is to run"),
        ("ticket", "the one of May", "is no ticket"),
        ("reason", "r" * 2_001, "give at most 2000"),
    ],
)
def test_an_error_stands_beside_its_field_and_what_was_typed_is_kept(visit, field, text, says):
    """422, nothing is asked for, the field is marked and described by its error; markup stays text."""
    answer = send(visit("grace"), **{field: text})
    assert answer.status_code == 422
    assert "<strong>1 field is not as needed: nothing was asked for yet</strong>" in answer.text
    wrong = re.search(rf'<span class="wrong" id="{re.escape(field)}-wrong">([^<]*)</span>', answer.text)
    assert wrong, answer.text
    assert says in wrong[1].replace("&#34;", '"')
    assert re.search(rf'id="{re.escape(field)}" aria-describedby="[^"]*-wrong" aria-invalid="true"', answer.text)
    assert "<script>alert" not in answer.text
    assert 'value="CHG-17"' in answer.text or field == "ticket"
    assert "as agreed" in answer.text or field == "reason"
    escaped = text.replace('"', "&#34;").replace("<", "&lt;").replace(">", "&gt;")
    assert not text or escaped in answer.text or field in {"in.size", "in.public", "environment"}


@pytest.mark.parametrize("field", ["in.note", "in.zones", "reason"])
def test_a_secret_is_refused_and_never_shown_again(visit, place, field):
    """A run keeps its inputs in the open; what was typed by mistake comes back on no page."""
    secret = "ghp_" + "a1B2" * 9
    before = len(place.house.runs.list(place.house.who, Wanted(workflow="all"), limit=200))
    answer = send(visit("grace"), **{field: f'["{secret}"]'})
    assert answer.status_code == 422
    assert "looks like a secret" in answer.text
    assert secret not in answer.text
    assert len(place.house.runs.list(place.house.who, Wanted(workflow="all"), limit=200)) == before


def test_a_form_that_is_sent_twice_makes_one_run(visit, place):
    """Also at the same moment, as by two clicks: both end on the page of the same run."""
    first, second = visit("grace"), visit("grace")
    page = first.get(FORM).text
    data = {**GOOD, "key": hidden(page, "key"), "digest": hidden(page, "digest"), "reason": "twice"}
    with ThreadPoolExecutor(2) as pool:
        answers = [each.result() for each in [pool.submit(one.post, FORM, data=data) for one in (first, second)]]
    answers.append(first.post(FORM, data=data))
    assert {each.status_code for each in answers} == {303}
    assert len({each.headers["location"] for each in answers}) == 1
    found = place.house.runs.list(place.house.who, Wanted(workflow="all"), limit=200)
    assert [run.reason for run in found].count("twice") == 1


def test_a_form_that_was_sent_with_other_values_says_so(visit):
    """Back, something else typed, sent again: nothing is done without a further yes, which then makes a second run."""
    client = visit("grace")
    page = client.get(FORM).text
    data = {**GOOD, "key": hidden(page, "key"), "digest": hidden(page, "digest")}
    assert client.post(FORM, data=data).status_code == 303
    again = client.post(FORM, data={**data, "in.count": "13"})
    assert again.status_code == 409
    assert "this form was sent before" in again.text
    assert 'value="13"' in again.text
    fresh = client.post(FORM, data={**data, "in.count": "13", "key": hidden(again.text, "key")})
    assert fresh.status_code == 303


def test_a_workflow_that_moved_is_looked_at_again(visit, place):
    """The form is of the file that was shown: when that is another one by now, nothing is asked for."""
    file = place.project / "workflows" / "all.yaml"
    client = visit("grace")
    page = client.get(FORM).text
    file.write_text(ALL.replace("echo looked", "echo changed"))
    try:
        answer = client.post(FORM, data={**GOOD, "key": hidden(page, "key"), "digest": hidden(page, "digest")})
        assert answer.status_code == 409
        assert "the workflow has changed since this form was made" in answer.text
        assert 'value="ledger"' in answer.text
        assert hidden(answer.text, "digest") != hidden(page, "digest")
    finally:
        file.write_text(ALL)


def test_a_run_is_asked_for_again_with_its_inputs_filled_in(visit, place):
    """From a run of that workflow alone; what is typed then becomes another run."""
    client = visit("ada")
    denied = place.run(reason="too open", public=True)
    path = "/catalog/storage/workflows/deploy.yaml"
    page = client.get(path, params={"from": denied}).text
    assert re.search(r'name="in.public".*?<option value="true" selected>', page, re.DOTALL)
    assert "too open</textarea>" in page
    assert "Filled in as" in page
    assert re.search(r'<option value="dev" selected>', page)
    assert client.get(FORM, params={"from": denied}).status_code == 422
    assert client.get(path, params={"from": "run_01m89tq850e2cvgwyfb9428ekw"}).status_code == 404


def test_whoever_is_held_to_a_project_is_offered_nothing_of_another(visit):
    """The other's workflows are not there: in no list, on no page, by no form; their own are, and can be asked for."""
    pam = visit("pam")
    for path in ("/catalog", "/workflows", "/search?q=all"):
        assert "storage" not in pam.get(path).text, path
    assert "No workflow fits" in pam.get("/catalog", params={"project": "storage"}).text
    assert "Takes money" in pam.get("/catalog").text
    for path in (FORM, FORM.replace("catalog", "workflows")):
        assert pam.get(path).status_code == 404
    page = pam.get("/catalog/bank/workflows/all.yaml").text
    keys = {"key": hidden(page, "key"), "digest": hidden(page, "digest")}
    assert pam.post(FORM, data={**GOOD, **keys}).status_code == 404
    made = pam.post("/catalog/bank/workflows/all.yaml", data={**GOOD, **keys})
    assert made.status_code == 303
    assert pam.get(made.headers["location"]).status_code == 200
    other = pam.get("/catalog/storage/workflows/none.yaml").text
    assert "there is no project" in other


def test_an_environment_is_offered_to_whoever_may_ask_there(visit):
    """A role that is held to one environment of one project: no other is on the card, in the form, or taken from it."""
    kim = visit("kim")
    page = kim.get("/catalog").text
    assert re.search(r"may go to dev</p>", page)
    assert "guarded" not in page
    assert "Takes money" not in page
    form = kim.get(FORM).text
    assert "guarded" not in form
    refused = send(kim, environment="guarded")
    assert refused.status_code == 422
    assert "choose where it is to run" in refused.text
    assert send(kim).status_code == 303
    assert kim.get("/catalog/bank/workflows/all.yaml").status_code == 404


def test_a_refusal_keeps_the_form_and_is_recorded(visit, place, monkeypatch):
    """What the service refuses after the form was read: the words stand above it, the log has them, too."""

    def refuse(_self, who, *_given):
        context = {"permission": "run:request"}
        raise MandamusError(Code.FORBIDDEN, f"{who.user} is refused <b>", remedy="ask", context=context)

    client = visit("grace")
    monkeypatch.setattr(type(place.house.runs), "request", refuse)
    answer = send(client)
    assert answer.status_code == 403
    assert "grace is refused &lt;b&gt;" in answer.text
    assert 'value="ledger"' in answer.text
    place.house.audit.flush()
    found = place.house.audit.search.find(place.house.who, Events(kind="access.denied", actor="grace"), limit=1)
    assert found.hits[0].fields["why"] == "grace is refused <b>"


def test_a_form_without_its_own_fields_is_refused(visit):
    """A key that is no key of ours does nothing."""
    client = visit("grace")
    for key in ("", "x" * 65, "é"):
        assert send(client, key=key).status_code == 422


def test_a_workflow_that_cannot_run_has_no_form(visit):
    """Its page says why; so does the form, with the command that shows it all."""
    answer = visit("grace").get("/catalog/storage/workflows/broken.yaml")
    assert answer.status_code == 422
    assert "mandamus check" in answer.text
