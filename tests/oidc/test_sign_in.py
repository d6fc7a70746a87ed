"""Signing in by a real provider, over HTTP as a browser without scripts does it."""

import re
import time
from urllib.parse import urlencode

import httpx2
import pytest

from mandamus.audit.kinds import Kind

pytestmark = pytest.mark.slow


def who_of(browser) -> str:
    """Who the console takes the browser for; empty for nobody."""
    found = re.search(r'signed in by ([^"]+)">(\S+?)(?: <span|</summary>)', browser.go("/"))
    return f"{found[2]} {found[1]}" if found else ""


def test_somebody_signs_in_and_is_who_they_are(browser, site):
    """Through the provider and back, with a cookie that no other site sends; it ends at the page that was wanted."""
    browser.go("/runs")
    assert browser.url.endswith("/sign-in?then=%2Fruns")
    start = re.search(r'href="(/sign-in/start[^"]*)"', browser.page)[1]
    browser.sign_in("grace", start)
    assert browser.status == 200
    assert browser.url == f"{site.url}/runs"
    assert who_of(browser) == "grace oidc"
    assert not browser.cookie("mandamus-flow"), "what the flow needed is gone"
    opened = site.told(Kind.SESSION_OPENED)[-1]
    assert opened["issuer"] == site.issuer
    assert opened["at_us"]
    assert opened["acr"] == "pwd"


def test_groups_are_those_of_the_last_sign_in(browser, site):
    """What the provider says of groups is what holds, of those that are mapped; and it makes nobody a maker."""
    browser.sign_in("grace")
    identity = site.house.identity
    assert identity.groups_of("grace") == {"platform", "approvers"}
    assert identity.members("platform") >= {"ada", "grace"}
    assert identity.changed_by("platform") == identity.owner()
    told = site.told(Kind.SIGN_IN_GROUPS)[-1]
    assert (told["user"], told["groups"]) == ("grace", ["approvers", "platform"])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("newcomer", "newcomer is no user of this home"),
        ("gone", "gone may not come in"),
        ("robot", "robot may not come in"),
        ("bare", "what http"),
        ("empty", "what http"),
        ("mandamus", "who could be a user here"),
    ],
)
def test_who_may_not_come_in_does_not(browser, site, name, says):
    """Unknown, inactive, a program, without the groups that are asked for, or named as the platform: refused."""
    before = len(site.told(Kind.SESSION_REFUSED))
    browser.sign_in(name)
    assert says in browser.page
    assert browser.status == 401
    assert who_of(browser) == ""
    assert len(site.told(Kind.SESSION_REFUSED)) == before + 1


def test_a_name_that_was_somebody_elses_is_not_them(browser, site):
    """A second subject with the same name is refused: who has signed in once is one subject for good."""
    browser.sign_in("grace")
    other = type(browser)(site)
    other.sign_in("twin")
    assert "grace is somebody else at the provider" in other.page
    assert who_of(other) == ""


def test_the_owner_is_not_whoever_has_their_name(browser, site):
    """A name at the provider never is enough to own the home."""
    site.apply(again(user="nickname"))
    try:
        browser.sign_in("boss")
        assert "a name at the provider is not enough" in browser.page
        assert who_of(browser) == ""
        site.apply(again(user="nickname", subjects="{OWNER: boss}".replace("OWNER", site.house.identity.owner())))
        browser.go("/sign-in/start")
        assert who_of(browser) == f"{site.house.identity.owner()} oidc"
    finally:
        site.apply(again())


def again(**changed: str) -> str:
    """The section as the tests declare it, with something more."""
    more = "".join(f"  {name}: {value}\n" for name, value in changed.items())
    return (
        "sign_in:\n  issuer: ISSUER\n  client_id: mandamus\n  client_secret: {file: client_secret}\n  url: URL\n"
        "  name: the provider of the tests\n" + more + ""
        "  groups: {claim: groups, map: {ops: platform, staff: approvers}}\n"
    )


def test_somebody_unknown_is_made_a_user_where_that_is_declared(browser, site):
    """With `unknown: none` a newcomer becomes a user who may what their groups are granted, and it is recorded."""
    site.apply(again(unknown="none"))
    try:
        browser.sign_in("newcomer")
        linked = site.told(Kind.SIGN_IN_LINKED)[-1]
        assert (linked["user"], linked["created"]) == ("newcomer", True)
        identity = site.house.identity
        made = next(user for user in identity.users(site.house.who) if user.name == "newcomer")
        assert (made.role.value, made.display_name) == ("none", "Someone New")
        assert identity.groups_of("newcomer") == {"platform"}
    finally:
        site.apply(again())


def test_declared_subjects_count_more_than_names(browser, site):
    """Who is declared to be a subject is that, whatever the provider calls them; and nobody else is."""
    site.apply(again(subjects="{joan: twin-of-grace, ada: somebody}"))
    try:
        browser.sign_in("ada")
        assert "ada is declared to be somebody else" in browser.page
    finally:
        site.apply(again())


def started(site) -> tuple[str, dict[str, str]]:
    """A sign-in that began: the provider's address, and the cookie."""
    answer = patient(f"{site.url}/sign-in/start")
    assert answer.status_code == 303
    return answer.headers["location"], {"mandamus-flow": answer.cookies["mandamus-flow"]}


def test_what_the_provider_is_asked_binds_the_answer(site, query_of):
    """Code, PKCE with S256, a state and a nonce that only this browser can know, and exactly our address."""
    asked = query_of(started(site)[0])
    other = query_of(started(site)[0])
    assert asked["response_type"] == "code"
    assert asked["code_challenge_method"] == "S256"
    assert asked["redirect_uri"] == f"{site.url}/sign-in/callback"
    assert asked["scope"] == "openid profile email"
    for name in ("state", "nonce", "code_challenge"):
        assert len(asked[name]) == 43
        assert asked[name] != other[name]
    assert len({asked[name] for name in ("state", "nonce", "code_challenge")}) == 3


def patient(url, cookies=None):
    """The answer; whoever is asked to wait does so and tries again."""
    while (answer := httpx2.get(url, cookies=cookies)).status_code == 429:
        time.sleep(float(answer.headers["retry-after"]))
    return answer


def come_back(browser, site) -> str:
    """The address the provider sends the browser back to, which it has not followed."""
    browser.go("/sign-in/start")
    acr = re.search(r'name="acr" value="(\w+)"', browser.page)[1]
    url, data = browser.url, {"login": "grace", "acr": acr}
    for _ in range(10):
        answer = browser._send("POST" if data else "GET", url, data, cross=False, source=url)
        url, data = str(httpx2.URL(url).join(answer.headers["location"])), None
        if url.startswith(site.url):
            return url
    raise AssertionError(url)


CASES = {
    "another state": lambda query: query | {"state": "A" * 43},
    "no state": lambda query: {name: value for name, value in query.items() if name != "state"},
    "no code": lambda query: {name: value for name, value in query.items() if name != "code"},
    "another code": lambda query: query | {"code": "B" * 43},
    "another issuer": lambda query: query | {"iss": "https://evil.example"},
    "no issuer": lambda query: {name: value for name, value in query.items() if name != "iss"},
    "an error": lambda query: query | {"error": "access_denied"},
}


@pytest.mark.parametrize("case", CASES)
def test_what_was_changed_on_the_way_back_is_refused(browser, site, query_of, case):
    """State, code and issuer are what they were, or nobody comes in."""
    query = CASES[case](query_of(come_back(browser, site)))
    browser.go(f"{site.url}/sign-in/callback?{urlencode(query)}")
    assert browser.status == 401, browser.page
    assert who_of(browser) == ""


def test_what_is_brought_twice_is_refused(browser, site):
    """A code and its state are good once, also for who brings them first; a second value beside one is none."""
    back = come_back(browser, site)
    kept = dict(browser.jars["127.0.0.1"])
    assert patient(f"{back}&state=x", cookies={"mandamus-flow": kept["mandamus-flow"][0]}).status_code == 401
    browser.go(back)
    assert browser.status == 200
    browser.jars["127.0.0.1"] = kept
    browser.go(back)
    assert browser.status == 401
    assert "was used, or took too long" in browser.page, "it is refused here, before the provider is asked"


def test_another_browser_cannot_end_what_this_one_began(browser, site):
    """Without what the browser kept, and with what another kept, the code is worth nothing, so nobody else is you."""
    back = come_back(browser, site)
    _, others = started(site)
    for cookies in ({}, {"mandamus-flow": "x"}, others):
        assert patient(back, cookies=cookies).status_code == 401
    browser.go(back)
    assert browser.status == 200


def test_the_session_before_ends_with_the_sign_in(browser, site):
    """A sign-in rotates the session: the secret that was there before is worth nothing afterwards."""
    browser.sign_in("grace")
    before = browser.cookie()
    browser.go("/sign-in/start")
    assert browser.cookie() != before
    assert patient(f"{site.url}/runs", cookies={"mandamus": before}).status_code == 303
    assert site.told(Kind.SESSION_ENDED)[-1]["why"] == "replaced"


@pytest.mark.parametrize(
    "then", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "x"]
)
def test_it_ends_here_whatever_was_asked_for(browser, site, then):
    """Where a sign-in goes on is a page of this console."""
    browser.sign_in("grace", f"/sign-in/start?{urlencode({'then': then})}")
    assert browser.url == f"{site.url}/"


def test_signing_out_ends_both_sessions(browser, site):
    """The console's session ends at once, and the browser is led to where the provider ends its own."""
    browser.sign_in("grace")
    secret = browser.cookie()
    browser.post("/sign-out", sent="1")
    assert browser.url.startswith(f"{site.issuer}/session/end?client_id=mandamus")
    assert browser.cookie() is None
    assert patient(f"{site.url}/runs", cookies={"mandamus": secret}).status_code == 303


def test_without_a_provider_people_come_in_by_links_alone(browser, site):
    """`sign_in: none` takes it away: the page does not offer it, and what was begun comes to nothing."""
    back = come_back(browser, site)
    site.apply("sign_in: none\n")
    try:
        assert "/sign-in/start" not in browser.go("/sign-in")
        browser.go(back)
        assert browser.status == 404
        assert who_of(browser) == ""
    finally:
        site.apply(again())
    assert site.told(Kind.SIGN_IN_APPLIED)[-1]["changes"]
