"""Approving where an environment asks for a fresh sign-in of a class: by a real provider, and by nothing else."""

import re
from dataclasses import replace

import pytest

from mandamus.audit.kinds import Kind
from mandamus.evidence.verify import verify
from mandamus.kernel import canonical
from mandamus.kernel.access import SignedIn
from mandamus.kernel.errors import Code, MandamusError

pytestmark = pytest.mark.slow


def decide(browser, run: str, verdict: str) -> str:
    """Say yes or no on the page that is open."""
    binding = re.search(r'name="binding" value="([^"]+)"', browser.page)[1]
    return browser.post(f"/runs/{run}/steps/change/decide", binding=binding, verdict=verdict, reason="looked at it")


def test_a_yes_needs_the_sign_in_that_is_asked_for(browser, site, tmp_path):
    """The page says what is missing and leads to the provider and back; then the yes counts, with its proof."""
    run = site.waiting_run("guarded")
    browser.sign_in("grace")
    browser.go(f"/runs/{run}/steps/change/decide")
    assert "you signed in as pwd, and mfa is asked for" in browser.page
    assert 'value="approve"' not in browser.page
    assert "guarded asks for a sign-in" in decide(browser, run, "approve")
    assert browser.status == 403
    again = re.search(r'href="(/sign-in/again[^"]*)"', browser.page)[1].replace("&amp;", "&")
    before = browser.cookie()
    browser.go(again)
    browser.be("grace")
    assert browser.url == f"{site.url}/runs/{run}/steps/change/decide"
    assert browser.cookie() != before
    assert 'value="approve"' in browser.page
    decide(browser, run, "approve")
    assert browser.url == f"{site.url}/runs/{run}"
    told = site.told(Kind.APPROVAL_RECORDED)[-1]
    assert told["signed_in"]["acr"] == "mfa"
    view = site.house.runs.show(site.house.who, run)
    signed = canonical.loads(view.approvals[-1].document)
    assert signed["signed_in"] == told["signed_in"]
    site.house.drive(run, lambda _notice: None)
    bundle = tmp_path / "proof.zip"
    site.house.evidence.export(site.house.who, run, bundle)
    assert verify(bundle, site.house.audit.vkey).ok


def test_only_the_same_person_steps_up(browser, site):
    """Somebody else at the provider does not go on in the session of whoever was to sign in again."""
    run = site.waiting_run("guarded")
    browser.sign_in("grace")
    browser.go(f"/runs/{run}/steps/change/decide")
    again = re.search(r'href="(/sign-in/again[^"]*)"', browser.page)[1].replace("&amp;", "&")
    del browser.jars["localhost"]
    browser.go(again)
    browser.be("ada")
    assert "grace was to sign in again, and somebody else did" in browser.page
    site.house.runs.cancel(site.house.who, run)


def test_what_is_no_sign_in_by_the_provider_does_not_count(site):
    """A token, a link, an old sign-in and another class are refused with what to do; a no needs none of it."""
    run = site.waiting_run("guarded")
    ada = replace(site.house.identity.active("ada"), authn="oidc")
    now_us = site.house.clock.now_us()
    for who, says in (
        (replace(ada, authn="token"), "a token is no sign-in"),
        (replace(ada, authn="one-time link"), "you did not sign in by the identity provider"),
        (replace(ada, signed_in=SignedIn(now_us - 301_000_000, "mfa")), "longer than 5 minutes ago"),
        (replace(ada, signed_in=SignedIn(now_us, "pwd")), "you signed in as pwd"),
        (replace(ada, signed_in=SignedIn(now_us, "")), "you signed in as no class"),
    ):
        with pytest.raises(MandamusError, match=says) as caught:
            site.house.runs.approve(who, run, step="change", reason="", group=None)
        assert caught.value.code is Code.APPROVAL_REFUSED
        assert f"/runs/{run}/steps/change/decide" in caught.value.remedy
    no = site.house.runs.reject(replace(ada, authn="token"), run, step="change", reason="no", group=None)
    assert "signed_in" not in canonical.loads(no.document)
