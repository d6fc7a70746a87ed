"""Search finds what the visitor may see, as a page and as options of the dialog."""

from __future__ import annotations

import re

from mandamus.kernel.access import MEMBER, Permission


def hits(text: str) -> list[str]:
    """The addresses that were found, in order."""
    return re.findall(r'href="([^"]+)"', text[text.find("<main") :] if "<main" in text else text)


def test_everything_with_a_name_is_found(place, visit, runs):
    """Screens, runs by reason and id, workflows, environments, policy sets; a few of each."""
    client = visit("grace")
    assert "/settings" in hits(client.get("/search", params={"q": "sett"}).text)
    assert f"/runs/{runs['denied']}" in hits(client.get("/search", params={"q": runs["denied"]}).text)
    reason = place.run(reason="Move the Ledger")
    assert f"/runs/{reason}" in hits(client.get("/search", params={"q": "the ledger"}).text)
    assert "/workflows/storage/workflows/deploy.yaml" in hits(client.get("/search", params={"q": "deploy"}).text)
    assert "/environments/guarded" in hits(client.get("/search", params={"q": "guard"}).text)
    assert any(each.startswith("/policies/sets/") for each in hits(client.get("/search", params={"q": "guard"}).text))
    assert "holds “no-such-thing”" in client.get("/search", params={"q": "no-such-thing"}).text


def test_each_hit_leads_somewhere(visit, runs):
    """No address that search gives is a dead end."""
    client = visit("grace")
    for query in ("", "e", "guard", "deploy"):
        for address in hits(client.get("/search", params={"q": query, "part": "1"}).text):
            assert client.get(address).status_code == 200, address


def test_options_are_told_apart(visit, runs):
    """The dialog's part has options in named groups, each with an id of its own, and none is chosen by the server."""
    text = visit("grace").get("/search", params={"q": "de", "part": "1"}).text
    ids = re.findall(r'role="option" id="([^"]+)"', text)
    assert len(ids) == len(set(ids)) > 2
    assert 'aria-selected="true"' not in text
    names = re.findall(r'role="group" aria-labelledby="([^"]+)"', text)
    assert all(f'id="{name}"' in text for name in names)
    assert "<html" not in text


def test_nobody_finds_what_they_may_not_see(visit, runs, monkeypatch, place):
    """Without a permission its kind is left out, and nothing fails."""
    whole = place.house.identity.active
    kinds = {
        Permission.RUN_READ: ("deploy", "/runs/run_"),
        Permission.WORKFLOW_READ: ("deploy", "/workflows/"),
        Permission.ENVIRONMENT_READ: ("dev", "/environments/"),
        Permission.POLICY_READ: ("guard", "/policies/sets/"),
    }
    client = visit("grace")
    for permission, (query, start) in kinds.items():
        address = f"/search?part=1&q={query}"
        assert any(each.startswith(start) for each in hits(client.get(address).text)), start

        def less(_self, name, permission=permission):
            found = whole(name)
            return found and type(found)(**{**vars(found), "permissions": MEMBER - {permission}})

        with monkeypatch.context() as patch:
            patch.setattr(type(place.house.identity), "active", less)
            answer = client.get(address)
        assert answer.status_code == 200
        assert not any(each.startswith(start) for each in hits(answer.text)), start
