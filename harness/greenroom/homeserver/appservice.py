"""The registration of an application service (https://spec.matrix.org/latest/application-service-api/#registration)."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import yaml

from greenroom.errors import Misuse

NAMESPACES = ("users", "aliases", "rooms")
TEXTS = ("id", "as_token", "hs_token", "sender_localpart")


@dataclass(frozen=True)
class Appservice:
    """An application service, as its homeserver knows it. `namespaces`: regular expressions of what belongs to it.

    `url` is where the homeserver finds the service. `more` has the other keys of a registration, such as `protocols`.
    """

    id: str
    sender_localpart: str
    url: str = ""
    as_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    hs_token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    users: Sequence[str] = ()
    aliases: Sequence[str] = ()
    rooms: Sequence[str] = ()
    more: Mapping[str, Any] = field(default_factory=dict)

    def registration(self) -> dict[str, Any]:
        """Return the registration, as the homeserver and the service read it."""
        found = {kind: [{"exclusive": kind != "rooms", "regex": r} for r in getattr(self, kind)] for kind in NAMESPACES}
        return {
            "id": self.id,
            "url": self.url,
            "as_token": self.as_token,
            "hs_token": self.hs_token,
            "sender_localpart": self.sender_localpart,
            "rate_limited": False,  # the rate limits of its users are lifted, as those of everybody are
            "namespaces": found,
            **self.more,
        }

    def as_yaml(self) -> str:
        """Return the registration as YAML."""
        return yaml.safe_dump(self.registration(), sort_keys=False)

    def at(self, url: str) -> Self:
        """Return the same service at another URL."""
        return replace(self, url=url)

    @classmethod
    def read(cls, text: str) -> Self:
        """Return the service of a registration in YAML. Raises Misuse, naming the first mistake."""
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise Misuse(f"the registration is no YAML: {' '.join(str(error).split())}") from None
        if not isinstance(data, dict):
            raise Misuse("the registration must be a mapping with `id`, `as_token`, `hs_token` and so on")
        for name in TEXTS:
            if not isinstance(data.get(name), str) or not data[name]:
                raise Misuse(f"the registration needs a text `{name}`")
        check_regexes(data.get("namespaces") or {})
        known = {name: data.pop(name) for name in TEXTS}
        return cls(**known, url=str(data.pop("url", "")), more=data)


def check_regexes(namespaces: Any) -> None:
    """Raise Misuse unless these are the namespaces of a registration, each with a regular expression."""
    if not isinstance(namespaces, Mapping):
        raise Misuse("`namespaces` of the registration must be a mapping")
    for kind, entries in namespaces.items():
        if not isinstance(entries, list | None):
            raise Misuse(f"the registration's namespaces {kind} must be a list")
        for entry in entries or ():
            regex = entry.get("regex") if isinstance(entry, Mapping) else None
            if not isinstance(regex, str):
                raise Misuse(f"each of the registration's namespaces {kind} needs a `regex`")
            check_regex(regex)


def check_regex(regex: str) -> None:
    """Raise Misuse unless a text is a regular expression."""
    try:
        re.compile(regex)
    except re.error as error:
        raise Misuse(f"{regex!r} is no regular expression: {error}") from None
