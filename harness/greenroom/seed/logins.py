"""Which account each person of a blueprint has on a server, and with which password."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from greenroom.errors import Unavailable
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.people.accounts import Account, derived_password
from greenroom.seed.blueprint import Blueprint


def accounts_of(blueprint: Blueprint, server: RunningHomeserver) -> tuple[Account, ...]:
    """Return the accounts of a blueprint's people, in its order, whether they exist yet or not.

    Raises Unavailable if a password is neither fixed in the blueprint nor derivable from the server's secret.
    """
    return _accounts(blueprint, server.server_name, partial(password_on, server))


def accounts_with(blueprint: Blueprint, server_name: str, secret: str) -> tuple[Account, ...]:
    """Return the accounts of a blueprint's people on a server that need not run, by its registration secret."""
    return _accounts(blueprint, server_name, partial(derived_password, secret))


def _accounts(blueprint: Blueprint, server_name: str, password: Callable[[str], str]) -> tuple[Account, ...]:
    return tuple(
        Account(f"@{person.name}:{server_name}", person.password or password(person.name))
        for person in blueprint.people
    )


def password_on(server: RunningHomeserver, localpart: str) -> str:
    """Return the password derived from the server's secret. Raises Unavailable if that is not known."""
    if server.registration is None:
        raise Unavailable(
            f"the password of {localpart}",
            f"it is derived from the registration secret of {server.url}, which is not known here",
            "a fixed `password` for each person in the blueprint, or the homeserver's registration secret",
        )
    return derived_password(server.registration.secret, localpart)
