"""Routes of who there is, and of tokens."""

from __future__ import annotations

from mandamus.api import given
from mandamus.api.door import Routes, TheHouse, Who
from mandamus.kernel.access import Permission
from mandamus.wire import identity as wire
from mandamus.wire.base import Page

routes = Routes("identity")


@routes.verb("GET", "/me", Permission.SYSTEM_READ)
def get_me(who: Who) -> wire.Me:
    """Who the token is of, and what it may."""
    return wire.me(who)


@routes.verb("GET", "/users", Permission.IDENTITY_READ)
def list_users(house: TheHouse, who: Who) -> Page[wire.User]:
    """Every user, by name."""
    return Page(items=[wire.user(each) for each in house.identity.users(who)])


@routes.verb("GET", "/groups", Permission.IDENTITY_READ)
def list_groups(house: TheHouse, who: Who) -> Page[wire.Group]:
    """Every group with its members, by name."""
    return Page(items=[wire.group(each) for each in house.identity.groups(who)])


@routes.verb("GET", "/tokens", Permission.TOKEN_WRITE)
def list_tokens(house: TheHouse, who: Who) -> Page[wire.Token]:
    """The caller's own tokens, newest first; everybody's for whoever may change identities."""
    return Page(items=[wire.token(each) for each in house.tokens.list(who)])


@routes.verb("POST", "/tokens", Permission.TOKEN_WRITE, status_code=201)
def create_token(house: TheHouse, who: Who, body: wire.NewToken) -> wire.MintedToken:
    """Make a token. Its secret is in this answer and nowhere else."""
    allowed = None if body.permissions is None else frozenset(body.permissions)
    made = house.tokens.create(
        who, body.name, days=body.days, permissions=allowed, account=body.account, projects=body.projects
    )
    return wire.minted(made)


@routes.verb("DELETE", "/tokens/{token}", Permission.TOKEN_WRITE)
def revoke_token(house: TheHouse, who: Who, token: given.Token) -> wire.Token:
    """End a token at once."""
    return wire.token(house.tokens.revoke(who, token))
