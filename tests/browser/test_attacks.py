"""What enemies send a console: 250 texts that want to be scripts, in every field, and forms from pages of their own."""

from __future__ import annotations

import html
import os
import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page
from starlette.routing import Route

from mandamus.api.app import build as build_api
from mandamus.bootstrap.house import House, open_house
from mandamus.runs.model import Request
from mandamus.serving.hub import Hub
from mandamus.settings import Settings
from mandamus.web.app import build as build_web

FORMS = [
    "<script>{}</script>",
    "</script><script>{}</script>",
    "</title><script>{}</script>",
    "</textarea><script>{}</script>",
    "</pre></code><script>{}</script>",
    "</option></select><script>{}</script>",
    "<!--><script>{}</script>-->",
    "<![CDATA[<script>{}</script>]]>",
    "<script/x>{}</script >",
    "<img src=x onerror={}>",
    "<img/src/onerror={}>",
    "<svg onload={}>",
    "<svg/onload={}>",
    "<svg><script>{}</script></svg>",
    "<svg><animate onbegin={} attributeName=x dur=1s>",
    "<svg><set onbegin={} attributeName=x>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload={}>#x'>",
    "<math><mi xlink:href='javascript:{}'>x",
    "<iframe src=javascript:{}>",
    "<iframe srcdoc='<script>parent.{}</script>'>",
    "<object data=javascript:{}>",
    "<embed src=javascript:{}>",
    "<a href=javascript:{} autofocus>x</a>",
    "<a href='java&#115;cript:{}'>x</a>",
    "javascript:{}",
    "data:text/html,<script>{}</script>",
    "<base href='javascript:{}//'>",
    "<meta http-equiv=refresh content='0;url=javascript:{}'>",
    "<form action=javascript:{}><button autofocus>x",
    "<button formaction=javascript:{}>x",
    "<input autofocus onfocus={}>",
    "<textarea autofocus onfocus={}>",
    "<select autofocus onfocus={}>",
    "<details open ontoggle={}>",
    "<dialog open onclose={}>",
    "<video><source onerror={}></video>",
    "<audio src=x onerror={}>",
    "<body onload={}>",
    "<marquee onstart={}>",
    "<style>*{{animation:x}}@keyframes x{{}}</style><p onanimationstart={}>",
    "<noscript><p title='</noscript><img src=x onerror={}>'>",
    "<template shadowrootmode=open><script>{}</script></template>",
    "<xss id=x tabindex=1 onfocus={}></xss>",
    "<p hx-on:load={} hx-on::after-init={}>",
    "<p hx-get=/ hx-trigger=load hx-swap='innerHTML' hx-vals='js:{}'>",
    "{{{{ self.__init__.__globals__ }}}}{}",
    "${{{}}}`${{{}}}`",
    "%3Cscript%3E{}%3C/script%3E",
    "&lt;script&gt;{}&lt;/script&gt;",
    "\u202e<b onmouseover={}>\u200b\ufeff",
]
AROUND = ["{}", '">{}', "'>{}", "\x1b[31m{}\x1b[0m", "\x1b]8;;javascript:hit()\x07{}\x1b]8;;\x07"]
"""What it stands in: nothing, two attributes, a colour, and a link of a terminal."""
PAYLOADS = [
    around.format(form.format("hit()", "hit()") if form.count("{}") > 1 else form.format("hit()"))
    for around in AROUND
    for form in FORMS
]
HIT = "window.hit = () => console.error('a payload ran'); window.alert = window.hit;"
ON_ATTRIBUTES = """
() => [...document.querySelectorAll("*")].flatMap((each) => [...each.attributes]
  .filter((of) => /^(on|hx-on)/.test(of.name) || /^(javascript|data):/i.test(of.value.trim()))
  .filter((of) => !of.name.startsWith("data-") && of.name !== "value" && of.name !== "title")
  .map((of) => `${each.tagName} ${of.name}=${of.value}`))
"""
AT_ONCE = 25
PLATFORM = """
users:
  ada: {name: NAME}
  grace: {name: NAME}
  OWNER: {}
groups:
  platform: [grace]
projects:
  storage: {root: .}
environments:
  dev:
    policies: [policy]
"""
WORKFLOW = """workflow: deploy
description: NAME
inputs:
  says: {type: string, description: NAME}
steps:
  change:
    script:
      run: |
        printf "%s\\n" "$SAYS"
        at=0
        printf "%s\\n" "$SAYS" | while IFS= read -r line; do
          at=$((at + 1)); printf "said%s=%s\\n" "$at" "$line" >> "$MANDAMUS_OUTPUT"
        done
      env: {SAYS: "${{ inputs.says }}"}
"""
RULES = """package mandamus.plan

warn contains {"msg": input.run.inputs.says}

deny contains {"msg": input.run.inputs.says, "remedy": input.run.inputs.says} if {
	contains(input.run.reason, "refuse")
}

require_approval contains {"group": "platform", "count": 1, "msg": input.run.inputs.says} if {
	input.step.name == "change"
}
"""
NAME = "<img src=x onerror=hit()>"
pytestmark = pytest.mark.timeout(900)  # a browser and a server, on a machine that may be busy

SENT = "sent=1&verdict=approve&reason=evil&theme=dark&back=/"
FORM = """<!doctype html><title>evil</title><form method="post" action="{target}">
<input name="verdict" value="approve"><input name="binding" value="{binding}"><input name="reason" value="evil">
</form><script>document.forms[0].submit()</script>"""
SCRIPT = """<!doctype html><title>evil</title><script>
const options = {{method: "POST", mode: "no-cors", credentials: "include"}};
const types = ["application/x-www-form-urlencoded", "text/plain"];
const targets = {targets};
const all = targets.flatMap((target) => types.map((type) =>
  fetch(target, {{...options, body: new Blob(["{sent}"], {{type}})}}).catch(() => null)));
Promise.all(all).then(() => {{ document.title = "done"; }});
</script>"""


@dataclass
class Place:
    """A home whose people, files and rules are named by enemies, with its server."""

    house: House
    project: Path
    url: str

    def link(self, user: str) -> str:
        """A link that nobody has used yet."""
        return f"{self.url}/sign-in?link={self.house.sessions.link(self.house.who, user)}"

    def run(self, payloads: list[str], reason: str) -> str:
        """A run full of them, as far as it goes."""
        ada = self.house.identity.active("ada")
        says = "\n".join(payloads)
        asked = Request("workflows/deploy.yaml", "dev", {"says": says}, reason)
        made = self.house.runs.request(ada, self.project, asked)
        self.house.drive(made.id, lambda _notice: None)
        return made.id


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_home, serve) -> Iterator[Place]:
    """Made once; each test makes runs of its own."""
    folder = tmp_path_factory.mktemp("payloads")
    quoted = f'"{NAME}"'
    home, project = make_home(folder, PLATFORM.replace("NAME", quoted), WORKFLOW.replace("NAME", quoted))
    (project / "policy" / "rules.rego").rename(project / "policy" / f"{NAME.replace(' ', '')}.rego")
    (project / "policy" / f"{NAME.replace(' ', '')}.rego").write_text(RULES)
    (project / "workflows" / f"{NAME}.yaml").write_text("workflow: [")
    with closing(open_house(Settings(), dict(os.environ), home, None)) as house:
        house.configure.apply(house.who, project / "platform.yaml")
        with serve(home, folder / "server.log") as url:
            yield Place(house, project, url)


def test_there_are_250():
    """Each is another one."""
    assert len(set(PAYLOADS)) == 250


def attack(place: Place, visit, payloads: list[str]) -> None:
    """Have every page show these payloads in every field."""
    grace = visit(place.url, place.link("grace"))
    grace.context.add_init_script(HIT)
    reason = " ".join(payloads)[:1_500]
    runs = {name: place.run(payloads, f"{name} {reason}") for name in ("refuse", "accept")}
    subject = place.house.identity.active("grace")
    place.house.tokens.create(subject, "".join(filter(str.isprintable, payloads[0]))[:60])
    decide = f"/runs/{runs['accept']}/steps/change/decide"
    look(grace.go(decide), payloads[0] if payloads[0].isprintable() else "")
    place.house.runs.approve(subject, runs["accept"], reason=reason)
    place.house.drive(runs["accept"], lambda _notice: None)
    decision = place.house.policy.decisions(subject, runs["refuse"])[-1].id
    pages = ["/", "/runs", "/approvals", "/catalog", "/workflows", "/policies", "/environments", "/audit", "/settings"]
    pages += [f"/policies/decisions/{decision}", "/catalog/storage/workflows/deploy.yaml", "/settings/people"]
    pages += ["/settings/tokens", "/workflows/storage/workflows/deploy.yaml", "/search?q=script", "/runs?text=<script>"]
    for run in runs.values():
        pages += [f"/runs/{run}", f"/runs/{run}/steps/change", f"/runs/{run}/steps/change/log", f"/audit?run={run}"]
        pages += [f"/runs/{run}/retry", f"/catalog/storage/workflows/deploy.yaml?run={run}"]
    for path in pages:
        look(grace.go(path), "")


def look(page: Page, words: str) -> None:
    """Whether nothing on the page could act, and the words stand there as words."""
    found = page.evaluate(ON_ATTRIBUTES)
    assert not found, f"{page.url}: {found}"
    if words:
        assert words in page.locator("#main").inner_text(), page.url


def test_some_payloads_in_every_field(place, visit):
    """One of each eleven: they are shown as what they are."""
    attack(place, visit, PAYLOADS[::11])


@pytest.mark.slow
@pytest.mark.parametrize("at", range(0, 250, AT_ONCE))
def test_all_payloads_in_every_field(place, visit, at):
    """All of them."""
    attack(place, visit, PAYLOADS[at : at + AT_ONCE])


@contextmanager
def evil_site(pages: dict[str, str]) -> Iterator[int]:
    """A server of somebody else on another port of this machine; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            escaped = {name: html.escape(value) for name, value in query.items()}
            text = pages.get(parts.path, "").format(**escaped) if query else pages.get(parts.path, "")
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def changing(house: House, run: str) -> list[str]:
    """The path of every route of both doors that may change something."""
    hub = Hub(house)
    parts = {"run": run, "step": "change", "project": "storage", "file:path": "workflows/deploy.yaml"}
    found = set()
    for app in (build_web(house, hub, os.urandom, secure=False), build_api(house, "test", hub)):
        for route in app.routes:
            if isinstance(route, Route) and "POST" in route.methods:
                found.add(re.sub(r"{([^}]+)}", lambda m: parts.get(m[1], "1"), route.path))
    assert len(found) > 10
    return sorted(found)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"], ids=["same-site", "cross-site"])
def test_nothing_that_another_page_sends_has_an_effect(place, visit, host):
    """By a form or by a script, from another port (where the cookie is sent along) or another site: each is refused."""
    run = place.run(["as planned"], "as planned")
    decide = f"/runs/{run}/steps/change/decide"
    grace = visit(place.url, place.link("grace"))
    binding = grace.go(decide).locator('[name="binding"]').get_attribute("value")
    paths = changing(place.house, run)
    script = SCRIPT.format(targets=[f"{place.url}{path}" for path in paths], sent=SENT)
    with evil_site({"/form": FORM, "/script": script.replace("{", "{{").replace("}", "}}")}) as port:
        page = grace.context.new_page()
        for path in (decide, "/sign-out", "/sign-in"):
            page.goto(f"http://{host}:{port}/form?target={place.url}{path}&binding={binding}", wait_until="commit")
            page.wait_for_url(lambda url: url.startswith(place.url))
            assert "this form was not sent from a page of this console" in page.content(), path
        answers: dict[str, set[int]] = {}
        page.on("response", lambda got: answers.setdefault(urlsplit(got.url).path, set()).add(got.status))
        page.goto(f"http://{host}:{port}/script?x=1")
        page.wait_for_function("document.title === 'done'")
    # What needs nobody's session answers a body it cannot read.
    assert {path: found for path in paths if not (found := answers.get(path, {0})) <= {400, 401, 403}} == {}
    assert place.house.runs.show(place.house.who, run).run.state.value == "waiting"
    assert grace.go("/").get_by_role("heading", name="Home").count() == 1
