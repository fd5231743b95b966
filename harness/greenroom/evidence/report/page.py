"""The page of a picture: one HTML file that needs nothing beside it and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined

from greenroom.errors import Cause
from greenroom.evidence.report.rows import Picture

FILE = "report.html"
INDEX = "index.html"


@dataclass(frozen=True)
class Report:
    """A picture and what stands above it.

    `verdict` is a word or two, `said` the whole error, and `beside` are the other files of the bundle.
    """

    name: str
    verdict: str
    passed: bool
    headline: str
    picture: Picture
    began: float
    causes: Sequence[Cause] = ()
    said: str = ""
    again: str = ""
    beside: Sequence[str] = ()

    def html(self) -> str:
        """Return the page."""
        return render("report", report=self, data=self.picture.as_data(self.began))


def render(name: str, **values: Any) -> str:
    """Return the page of a template, with its style and script inside. Values are escaped."""
    shared = {"style": _text("report.css"), "script": _text(f"{name}.js")}
    return _environment().from_string(_text(f"{name}.html.j2")).render(**shared, **values)


def _text(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.policies["json.dumps_kwargs"] = {"sort_keys": False}  # details have an order for readers
    return made
