"""A provider of identities makes, changes and ends users and groups, and nobody else's."""

from __future__ import annotations

import itertools
import json
import os
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient

from mandamus.api.app import RECHECK_S, build
from mandamus.kernel.access import Permission
from mandamus.serving.hub import Hub
from mandamus.web import live
from mandamus.web.app import build as build_web

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
SCIM = "application/scim+json"

_numbers = itertools.count()


class Provider:
    """What Entra ID or Okta does: a token of one permission, and the protocol."""

    def __init__(self, client: TestClient, secret: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {secret}", "Content-Type": SCIM}

    def ask(self, method: str, path: str, body: Any = None, *, headers: Any = None, **params: Any) -> httpx2.Response:
        """One request; whatever comes back with a body is SCIM."""
        content = None if body is None else json.dumps(body)
        answer = self._client.request(
            method,
            f"/scim/v2{path}",
            content=content,
            params=params or None,
            headers={**self._headers, **(headers or {})},
        )
        if answer.content:
            assert answer.headers["content-type"] == SCIM, answer.text
        return answer

    def user(self, user_name: str, /, **more: Any) -> dict[str, Any]:
        """A new user."""
        made = self.ask("POST", "/Users", {"schemas": [USER], "userName": user_name, **more})
        assert made.status_code == 201, made.text
        return made.json()

    def group(self, shown: str, *members: str) -> dict[str, Any]:
        """A new group."""
        body = {"schemas": [GROUP], "displayName": shown, "members": [{"value": each} for each in members]}
        made = self.ask("POST", "/Groups", body)
        assert made.status_code == 201, made.text
        return made.json()

    def patch(self, resource: dict[str, Any], *operations: dict[str, Any], **more: Any) -> httpx2.Response:
        """Operations on a user or a group."""
        path = f"/{resource['meta']['resourceType']}s/{resource['id']}"
        return self.ask("PATCH", path, {"schemas": [PATCH], "Operations": list(operations)}, **more)

    def read(self, resource: dict[str, Any]) -> dict[str, Any]:
        """It as it is now."""
        return self.ask("GET", f"/{resource['meta']['resourceType']}s/{resource['id']}").json()


@pytest.fixture(scope="module")
def provider(app_client, place) -> Provider:
    """Nothing more is needed than the one permission."""
    return Provider(app_client, place.mint(None, permissions=[Permission.IDENTITY_PROVISION]))


@pytest.fixture
def name() -> str:
    """A name nobody has."""
    return f"user{next(_numbers)}@example.com"


def test_what_entra_sends_in_a_life(provider, place, name):
    """Look, create, look by id, patch with capital letters and texts, and deactivate by the text False."""
    looked = provider.ask("GET", "/Users", filter=f'userName eq "{name}"').json()
    assert (looked["totalResults"], looked["Resources"]) == (0, [])
    more = {
        "externalId": "58342554-38d6",
        "active": True,
        "emails": [{"primary": True, "type": "work", "value": name}],
        "name": {"formatted": "Eve Adams", "familyName": "Adams", "givenName": "Eve"},
        "roles": [{"value": "owner"}],
        "meta": {"resourceType": "User"},
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": "Audit"},
    }
    made = provider.user(name, **more)
    assert made["emails"] == [{"value": name, "type": "work", "primary": True}]
    assert (made["displayName"], made["externalId"], made["active"]) == ("Eve Adams", "58342554-38d6", True)
    assert "roles" not in made
    found = provider.ask("GET", "/Users", filter=f'userName eq "{name.upper()}"').json()
    assert [each["id"] for each in found["Resources"]] == [made["id"]]
    new = f"new-{name}"
    changed = provider.patch(
        made,
        {"op": "Replace", "path": 'emails[type eq "work"].value', "value": new},
        {"op": "Add", "path": "name.formatted", "value": "Eve A."},
        {
            "op": "Replace",
            "path": "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department",
            "value": "x",
        },
    )
    assert changed.status_code == 200, changed.text
    assert (changed.json()["emails"][0]["value"], changed.json()["displayName"]) == (new, "Eve A.")
    off = provider.patch(made, {"op": "Replace", "path": "active", "value": "False"})
    assert off.json()["active"] is False
    house = place.open()
    assert house.identity.active(name) is None
    house.close()


def test_what_okta_sends_in_a_life(provider, name):
    """Create, PUT, deactivate without a path, activate again."""
    made = provider.user(name, name={"givenName": "Ok", "familyName": "Ta"}, groups=[], password="x9" * 8, locale="en")
    assert made["displayName"] == "Ok Ta"
    assert "password" not in made
    put = {"schemas": [USER], "id": made["id"], "userName": name, "displayName": "Okay", "emails": [{"value": name}]}
    answer = provider.ask("PUT", f"/Users/{made['id']}", put)
    assert (answer.status_code, answer.json()["displayName"]) == (200, "Okay")
    off = provider.patch(made, {"op": "replace", "value": {"active": False}})
    assert off.json()["active"] is False
    # A PUT that does not say lets nobody in again.
    assert provider.ask("PUT", f"/Users/{made['id']}", put).json()["active"] is False
    assert provider.patch(made, {"op": "replace", "value": {"active": True}}).json()["active"] is True


def test_groups_as_both_change_them(provider, name):
    """Add, Remove with values (Entra), remove by filter (Okta), replace, and a whole object without a path."""
    one, two, three = (provider.user(f"{each}-{name}") for each in "abc")
    made = provider.group(f"Platform Engineers {next(_numbers)}", one["id"])
    assert [each["value"] for each in made["members"]] == [one["id"]]

    def after(operation: dict[str, Any]) -> set[str]:
        answer = provider.patch(made, operation)
        assert answer.status_code == 200, answer.text
        return {each["value"] for each in answer.json()["members"]}

    assert after({"op": "Add", "path": "members", "value": [{"value": two["id"]}]}) == {one["id"], two["id"]}
    assert after({"op": "Remove", "path": "members", "value": [{"value": one["id"]}]}) == {two["id"]}
    assert after({"op": "add", "value": {"members": [{"value": three["id"]}]}}) == {two["id"], three["id"]}
    assert after({"op": "remove", "path": f'members[value eq "{two["id"]}"]'}) == {three["id"]}
    whole = {"id": made["id"], "displayName": made["displayName"], "members": [{"value": one["id"]}]}
    assert after({"op": "replace", "value": whole}) == {one["id"]}
    assert provider.read(one)["groups"][0]["value"] == made["id"]
    found = provider.ask("GET", "/Groups", filter=f'members.value eq "{one["id"]}"', excludedAttributes="members")
    assert [(each["id"], "members" in each) for each in found.json()["Resources"]] == [(made["id"], False)]
    named = provider.ask("GET", "/Groups", filter=f'displayName eq "{made["displayName"].lower()}"').json()
    assert named["totalResults"] == 1
    assert after({"op": "remove", "path": "members"}) == set()
    assert provider.ask("DELETE", f"/Groups/{made['id']}").status_code == 204
    assert provider.ask("GET", f"/Groups/{made['id']}").status_code == 404


def test_lists_come_in_pages(provider, name):
    """The start counts from 1, count may be 0, and what is beyond is empty."""
    made = [provider.user(f"{each}-{name}", externalId=f"ext-{name}") for each in "abcde"]
    seen: list[str] = []
    for start in (1, 3, 5):
        page = provider.ask("GET", "/Users", filter=f'externalId eq "ext-{name}"', startIndex=start, count=2).json()
        assert (page["totalResults"], page["startIndex"]) == (5, start)
        seen += [each["id"] for each in page["Resources"]]
    assert seen == [each["id"] for each in made]
    for start, count in ((1, 0), (6, 2), (1, -5)):
        page = provider.ask("GET", "/Users", filter=f'externalId eq "ext-{name}"', startIndex=start, count=count).json()
        assert (page["totalResults"], page["itemsPerPage"]) == (5, 0)
    both = f'externalId eq "ext-{name}" and userName eq "{made[2]["userName"]}"'
    assert provider.ask("GET", "/Users", filter=both, startIndex=-7).json()["totalResults"] == 1


def test_a_version_is_what_was_seen(provider, name):
    """An ETag on each; what was changed meanwhile is not written over, and what is the same is not sent."""
    made = provider.user(name)
    tag = made["meta"]["version"]
    assert tag.startswith('W/"')
    path = f"/Users/{made['id']}"
    assert provider.ask("GET", path, headers={"If-None-Match": tag}).status_code == 304
    first = provider.patch(made, {"op": "add", "path": "displayName", "value": "One"}, headers={"If-Match": tag})
    assert first.headers["etag"] != tag
    second = provider.patch(made, {"op": "add", "path": "displayName", "value": "Two"}, headers={"If-Match": tag})
    assert (second.status_code, second.json()["status"]) == (412, "412")
    assert provider.read(made)["displayName"] == "One"
    assert provider.ask("DELETE", path, headers={"If-Match": tag}).status_code == 412


WRONG: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/Users?filter=userName pr", None, 400, "invalidFilter"),
    ("GET", '/Users?filter=userName eq "a" or userName eq "b"', None, 400, "invalidFilter"),
    ("GET", '/Users?filter=userName co "a"', None, 400, "invalidFilter"),
    ("GET", '/Users?filter=title eq "a"', None, 400, "invalidFilter"),
    ("GET", '/Users?filter=userName eq "a', None, 400, "invalidFilter"),
    ("GET", '/Users?filter=userName eq "a" and', None, 400, "invalidFilter"),
    ("GET", '/Users?filter=active eq "true"', None, 400, "invalidFilter"),
    ("GET", "/Users?count=many", None, 400, "invalidValue"),
    ("POST", "/Users", {"userName": "x"}, 400, "invalidSyntax"),
    ("POST", "/Users", {"schemas": [USER]}, 400, "invalidValue"),
    ("POST", "/Users", {"schemas": [USER], "userName": "no spaces here"}, 400, "invalidValue"),
    ("POST", "/Users", {"schemas": [USER], "userName": "system"}, 400, "invalidValue"),
    ("POST", "/Users", {"schemas": [USER], "userName": "x", "USERNAME": "y"}, 400, "invalidSyntax"),
    ("POST", "/Users", {"schemas": [USER], "userName": ["x"]}, 400, "invalidValue"),
    ("POST", "/Users", {"schemas": [USER], "userName": "x", "active": "maybe"}, 400, "invalidValue"),
    ("POST", "/Users", {"schemas": [USER], "userName": "x", "active": 1}, 400, "invalidValue"),
    ("POST", "/Users", {"schemas": [USER], "userName": "x", "emails": "no@list"}, 201, ""),
    ("POST", "/Users", ["a list"], 400, "invalidValue"),
    ("POST", "/Groups", {"schemas": [GROUP], "displayName": "Ünïcode"}, 400, "invalidValue"),
    ("POST", "/Groups", {"schemas": [GROUP], "displayName": "g", "members": [{"value": "ada"}]}, 400, "invalidValue"),
    (
        "POST",
        "/Groups",
        {"schemas": [GROUP], "displayName": "g", "members": [{"value": "x", "type": "Group"}]},
        400,
        "invalidValue",
    ),
    ("GET", '/Users?filter=userName eq "\\ud800"', None, 400, "invalidFilter"),
    ("GET", '/Groups?filter=members.value eq "\\u0000"', None, 400, "invalidFilter"),
    ("GET", "/Users/%00", None, 404, ""),
    ("GET", "/Users/%ED%A0%80", None, 404, ""),
    (
        "POST",
        "/Groups",
        {"schemas": [GROUP], "displayName": "g", "members": [{"value": "\ud800"}]},
        400,
        "invalidValue",
    ),
    ("GET", "/Users/ada", None, 404, ""),
    ("GET", "/Groups/platform", None, 404, ""),
    ("DELETE", "/Users/scu_01m89tq850e2cvgwyfb9428ekw", None, 404, ""),
    ("PUT", "/Schemas", {}, 405, ""),
    ("GET", "/Nothing", None, 404, ""),
    ("GET", "/Schemas/urn:nobody", None, 404, ""),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "kind"), WRONG)
def test_what_is_wrong_is_said_in_their_form(provider, method, path, body, status, kind):
    """RFC 7644, 3.12: the status as a text, the type of error, and what to do."""
    answer = provider.ask(method, path, body)
    assert answer.status_code == status, answer.text
    if status >= 400:
        said = answer.json()
        assert said["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
        assert (said["status"], said.get("scimType", "")) == (str(status), kind)
        assert said["detail"]
        assert said["remedy"]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ({"op": "move", "path": "active", "value": True}, "invalidSyntax"),
        ({"op": "remove"}, "noTarget"),
        ({"op": "replace", "path": "nothing", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "emails[", "value": "x"}, "invalidPath"),
        ({"op": "replace", "path": "id", "value": "x"}, "mutability"),
        ({"op": "replace", "path": "groups", "value": []}, "mutability"),
        ({"op": "replace", "path": "userName", "value": "someone-else"}, "mutability"),
        ({"op": "remove", "path": "active"}, "mutability"),
        ({"op": "replace", "path": "active", "value": "perhaps"}, "invalidValue"),
        ({"op": "replace", "value": "x"}, "invalidSyntax"),
        ({"op": "replace", "path": "displayName", "value": "\x1b[31m"}, "invalidValue"),
    ],
)
def test_a_patch_that_cannot_be_changes_nothing(provider, name, operation, kind):
    """One wrong operation, and none of them is done."""
    made = provider.user(name)
    answer = provider.patch(made, {"op": "replace", "path": "displayName", "value": "Changed"}, operation)
    assert (answer.status_code, answer.json()["scimType"]) == (400, kind), answer.text
    assert provider.read(made) == made


def test_a_provider_cannot_become_somebody(provider, place):
    """Neither the owner, nor whom the platform file declares, whatever the case of the letters; and no group of it."""
    house = place.open()
    owner = house.who.user
    house.close()
    for taken in (owner, owner.upper(), "ada", "ADA", "rita"):
        answer = provider.ask("POST", "/Users", {"schemas": [USER], "userName": taken, "active": False})
        assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness"), taken
    for taken in ("platform", "Platform", " PLATFORM "):
        answer = provider.ask("POST", "/Groups", {"schemas": [GROUP], "displayName": taken})
        assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness"), taken
    house = place.open()
    assert house.identity.active("ada") is not None
    assert house.identity.members("platform") == {"ada", "grace"}
    house.close()
    listed = provider.ask("GET", "/Users", count=200).json()["Resources"]
    assert not {each["userName"] for each in listed} & {owner, "ada", "grace", "joan", "rita"}


def test_nobody_without_the_permission_provides(app_client, place):
    """A member, an auditor and a token for other things: 403 in their form; and the provider's token does no more."""
    for user in ("ada", "rita", "reader"):
        answer = Provider(app_client, place.secrets[user]).ask("GET", "/Users")
        assert (answer.status_code, answer.json()["status"]) == (403, "403")
    assert Provider(app_client, "mdm_nobody").ask("GET", "/Users").status_code == 401
    secret = place.mint(None, permissions=[Permission.IDENTITY_PROVISION])
    for path in ("/api/v1/users", "/api/v1/runs", "/api/v1/tokens", "/api/v1/audit/events"):
        assert app_client.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code == 403


def test_who_says_who_is_in_a_group_is_a_maker(provider, place, name):
    """Members come by the provider, so whoever holds its token made what the group approves; a repetition does not."""
    made = provider.group(f"approvers {next(_numbers)}", provider.user(name)["id"])
    house = place.open()
    group = made["displayName"].replace(" ", "-")
    assert house.identity.changers(group) == {house.who.user}
    assert house.identity.members(group) == {name}
    house.close()


def test_every_change_is_an_event_and_a_repetition_is_none(app_client, provider, place, name):
    """What was done, to whom, and what it ended; nothing that may have to be forgotten."""
    made = provider.user(name, displayName="Somebody Private")
    provider.patch(made, {"op": "replace", "value": {"active": True, "displayName": "Somebody Private"}})
    provider.patch(made, {"op": "replace", "value": {"active": False}})
    provider.ask("DELETE", f"/Users/{made['id']}")
    headers = {"Authorization": f"Bearer {place.secrets['owner']}"}
    asked = {"kind": "identity.provisioned", "limit": 50}
    found = app_client.get("/api/v1/audit/events", params=asked, headers=headers).json()["items"]
    mine = [each["leaf"] for each in found if each["leaf"]["data"]["name"] == name]
    assert [each["data"]["did"] for each in mine] == ["deleted", "deactivated", "created"]
    assert "Private" not in json.dumps(mine)


def test_a_name_that_was_deleted_is_the_same_user_again(provider, place, name):
    """The provider does not know them any more, and may make them again: as whom the log knows by the name."""
    made = provider.user(name)
    group = provider.group(f"leavers {next(_numbers)}", made["id"])
    assert provider.ask("DELETE", f"/Users/{made['id']}").status_code == 204
    assert provider.ask("GET", f"/Users/{made['id']}").status_code == 404
    assert provider.ask("DELETE", f"/Users/{made['id']}").status_code == 404
    assert provider.read(group)["members"] == []
    house = place.open()
    assert house.identity.active(name) is None
    house.close()
    again = provider.user(name)
    assert again["id"] != made["id"]
    assert "groups" not in again or again["groups"] == []


def test_it_says_what_it_is(provider):
    """Discovery, as providers ask for it when they are set up."""
    config = provider.ask("GET", "/ServiceProviderConfig").json()
    assert (config["patch"], config["bulk"]["supported"], config["etag"]) == (
        {"supported": True},
        False,
        {"supported": True},
    )
    types = provider.ask("GET", "/ResourceTypes").json()
    assert {each["endpoint"] for each in types["Resources"]} == {"/Users", "/Groups"}
    schemas = provider.ask("GET", "/Schemas").json()["Resources"]
    assert {each["id"] for each in schemas} == {USER, GROUP}
    for each in [*types["Resources"], *schemas]:
        assert provider.ask("GET", each["meta"]["location"].partition("/scim/v2")[2]).json() == each


def test_whom_the_provider_ends_is_out_at_once(app_client, provider, place, name):
    """Sessions, tokens and links are dead with the answer, and stay dead when the user is let in again."""
    made = provider.user(name)
    house = place.open()
    subject = house.identity.active(name)
    token = house.tokens.create(subject, "mine").secret
    opened = house.sessions.open(house.sessions.link(subject))
    link = house.sessions.link(subject)
    headers = {"Authorization": f"Bearer {token}"}
    assert app_client.get("/api/v1/me", headers=headers).status_code == 200
    provider.patch(made, {"op": "Replace", "path": "active", "value": "False"})
    assert app_client.get("/api/v1/me", headers=headers).status_code == 401
    provider.patch(made, {"op": "Replace", "path": "active", "value": "True"})
    assert house.identity.active(name) is not None
    assert app_client.get("/api/v1/me", headers=headers).status_code == 401
    for dead in (lambda: house.sessions.authenticate(opened.secret), lambda: house.sessions.open(link)):
        with pytest.raises(Exception, match=r"not signed in|not good here"):
            dead()
    house.close()


def test_streams_end_with_their_user(place, name, followed, monkeypatch):
    """Whoever follows a run, by a token or in a browser, when they are deactivated, is at its end within a minute.

    A server asks again within that; here it asks more often, so that nobody waits for it.
    """
    assert max(live.CHECK_S, RECHECK_S) < 60
    monkeypatch.setattr(live, "CHECK_S", 0.2)
    house = place.open()
    hub = Hub(house)
    client = TestClient(build(house, "test", hub, recheck_s=0.2), raise_server_exceptions=False)
    console = TestClient(build_web(house, hub, os.urandom, secure=False), headers={"Origin": "http://testserver"})
    provider = Provider(client, place.mint(None, permissions=[Permission.IDENTITY_PROVISION]))
    made = provider.user(name)
    # It waits for somebody: one that ends would end its streams as well, when a server of other tests is its engine.
    asked = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev", "inputs": {"asked": True}}
    ada = {"Authorization": f"Bearer {place.secrets['ada']}"}
    run = client.post("/api/v1/runs", json=asked, headers=ada).json()["id"]

    def shut(active: str) -> None:
        assert provider.patch(made, {"op": "Replace", "path": "active", "value": active}).status_code == 200

    headers = {"Authorization": f"Bearer {house.tokens.create(house.identity.active(name), 'mine').secret}"}
    path = f"/api/v1/runs/{run}/events"
    answer = followed(client.app, lambda: client.get(path, headers=headers), lambda: shut("False"))
    assert (answer.status_code, answer.text.count("event: stopped")) == (200, 1)
    assert "unauthenticated" in answer.text
    shut("True")
    link = house.sessions.link(house.identity.active(name))
    assert console.post("/sign-in", data={"link": link}, follow_redirects=False).status_code == 303
    answer = followed(console.app, lambda: console.get(f"/runs/{run}/live"), lambda: shut("False"))
    assert answer.status_code == 200
    assert "event: end" not in answer.text
    assert console.get("/runs", follow_redirects=False).status_code != 200
    house.close()
