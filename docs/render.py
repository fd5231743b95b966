"""Write the generated parts of the documents: `python -m docs.render`. A test fails if one is out of date.

A generated part is between `<!-- NAME -->` and `<!-- /NAME -->`; the rest is written by hand. With
`--bench` the last results of `invoke bench` are taken over first.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from docs.performance import performance, plots, take_over
from docs.tables import table
from greenroom.commands.run.variables import VARIABLES as RUN_VARIABLES
from greenroom.commands.tasks import namespace
from greenroom.configuration.variables import VARIABLES
from greenroom.faults.manners import MANNERS, SETS, SPEC
from greenroom.homeserver.kind import KINDS, find_kind
from greenroom.http_interface import document_text
from greenroom.http_interface.operations import OPERATIONS
from greenroom.scenarios.promises import BotPromises
from greenroom.seed.blueprint import Blueprint
from greenroom.seed.load import load_blueprint, packaged_blueprints
from greenroom_bot.commands import COMMANDS
from greenroom_bot.config import settings_table
from greenroom_bot.rooms.planner import CONFLICTS, RULES

ROOT = Path(__file__).parent.parent
OPENAPI = ROOT / "docs" / "openapi.json"
DOCUMENTS = ("README.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md")))


def tasks() -> str:
    """Return the table of the tasks with their options."""
    rows = []
    for name in sorted(namespace.task_names):
        task = namespace[name]
        words = [f"invoke {name.replace('_', '-')}"]
        for argument in task.get_arguments():
            flag = f"--{argument.names[0].replace('_', '-')}"
            if argument.positional or argument.names[0] in task.positional:
                words.append(f"[{argument.names[0].upper()}]")
            else:
                words.append(f"[{flag}]" if argument.kind is bool else f"[{flag} …]")
        rows.append((f"`{' '.join(words)}`", (inspect.getdoc(task.body) or "").splitlines()[0]))
    return table(("command", "what it does"), rows)


def settings() -> str:
    """Return the table of the bot's settings."""
    return table(("variable", "meaning", "when absent"), [(f"`{name}`", *rest) for name, *rest in settings_table()])


def bot_commands() -> str:
    """Return the table of the commands that the bot understands."""
    return table(("say", "effect"), [(f"`{c.usage}`", c.help) for c in COMMANDS.values()])


def outcomes() -> str:
    """Return the table of the outcomes of reconciliation."""
    return table(("outcome", "when, and the one rule"), [(f"`{name}`", rule) for name, rule in RULES.items()])


def conflicts() -> str:
    """Return the table of the conflicts of reconciliation."""
    return table(
        ("conflict", "what it is, and its one rule"), [(f"`{name}`", rule) for name, rule in CONFLICTS.items()]
    )


def packaged() -> str:
    """Return the table of the packaged blueprints."""
    return table(
        ("name", "what is in it"), [(f"`{name}`", load_blueprint(name).description) for name in packaged_blueprints()]
    )


def blueprint_fields() -> str:
    """Return the tables of the fields of a blueprint, one for each of its models."""
    return _fields(Blueprint)


def promises_fields() -> str:
    """Return the tables of the fields of a promises file, one for each of its models."""
    return _fields(BotPromises)


def variables() -> str:
    """Return the table of the variables that a bot may mention."""
    rows = [(f"`${{{name}}}`", one.meaning, "yes" if one.exported else "no") for name, one in VARIABLES.items()]
    return table(("variable", "value", "in the bot's environment"), rows)


def run_variables() -> str:
    """Return the table of the variables that `greenroom run` sets."""
    return table(("variable", "value"), [(f"`{name}`", meaning) for name, meaning in RUN_VARIABLES.items()])


def operations() -> str:
    """Return the table of what the HTTP interface can be asked."""
    rows = [(f"`{one.method} {one.path}`", one.summary) for one in OPERATIONS.values()]
    return table(("request", "what it does"), rows)


def kinds() -> str:
    """Return the table of the kinds of homeserver."""
    rows = []
    for kind in map(find_kind, KINDS):
        runs = "as a process, in a container" if kind.process else "in a container"
        rows.append(
            (f"`{kind}`", f"`{kind.image}`", runs, str(kind.registration), "untried" if kind.untried else "tried")
        )
    return table(("kind", "official image", "runs", "accounts", ""), rows)


def lacks() -> str:
    """Return the table of what each kind of homeserver cannot do."""
    rows = [
        (f"`{kind}`", str(lack), why.reason, why.instead)
        for kind in map(find_kind, KINDS)
        for lack, why in kind.missing.items()
    ]
    return table(("kind", "cannot do", "because", "instead"), rows)


def manners() -> str:
    """Return the table of the manners, with the sets that have each of them."""
    rows = []
    for rule in MANNERS.values():
        sets = [name for name in SETS if rule.name in SETS[name]]
        does = f"{rule.does} ([specification]({SPEC}{rule.section}))"
        rows.append((f"`{rule.name}`", does, ", ".join(sets), rule.helps))
    return table(("rule", "what the homeserver does", "sets", "what helps a bot"), rows)


def _fields(top: type[BaseModel]) -> str:
    parts = []
    for place, model in _models(top, ""):
        about = (inspect.getdoc(model) or "").splitlines()[0]
        rows = [
            (f"`{name}`", _kind(schema), field.description or "", _default(field.is_required(), schema))
            for field, (name, schema) in zip(
                model.model_fields.values(), model.model_json_schema()["properties"].items(), strict=True
            )
        ]
        head = f"### `{place}`" if place else "### The file"
        parts.append(f"{head}\n\n{about}\n\n{table(('field', 'kind', 'meaning', 'when absent'), rows)}")
    return "\n\n".join(parts)


def _models(model: type[BaseModel], place: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield a model and those of its fields, each with its place in the file."""
    yield place, model
    for name, field in model.model_fields.items():
        for kind in (*get_args(field.annotation), field.annotation):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                suffix = "[]" if get_origin(field.annotation) in (tuple, list) else ""
                yield from _models(kind, f"{place}.{name}{suffix}".lstrip("."))


def _kind(schema: dict[str, Any]) -> str:
    """Return the kind of a field's value in a word or two, from its JSON Schema."""
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    match schema.get("type"):
        case "array":
            return "list of " + _kind(schema["items"]).replace("mapping", "mappings").replace("text", "texts")
        case "object":
            return "mapping"
        case "integer":
            return "whole number"
        case "number":
            return "number"
        case "boolean":
            return "true or false"
        case "string":
            return "text"
        case _:
            return "mapping" if "$ref" in schema else "anything"  # a model of its own


def _default(required: bool, schema: dict[str, Any]) -> str:
    if required:
        return "required"
    default = schema.get("default")
    if default in (None, "", [], {}) or isinstance(default, dict):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


PARTS: dict[str, Callable[[], str]] = {
    part.__name__.replace("_", "-"): part
    for part in (
        tasks,
        settings,
        bot_commands,
        outcomes,
        conflicts,
        packaged,
        blueprint_fields,
        promises_fields,
        variables,
        run_variables,
        operations,
        kinds,
        lacks,
        manners,
        performance,
    )
}


def rendered(text: str) -> str:
    """Return a document with its generated parts brought up to date."""
    for name, part in PARTS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        body = part().replace("\\", "\\\\")
        text = pattern.sub(rf"\1\n{body}\n\n\2", text)
    return text


def files() -> dict[Path, str]:
    """Return the files that are generated as a whole."""
    return {OPENAPI: document_text(), **plots()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bench", action="store_true", help="first take over the last results of `invoke bench`")
    if parser.parse_args().bench:
        take_over()
    for file, text in files().items():
        file.write_text(text)
    for document in DOCUMENTS:
        file = ROOT / document
        file.write_text(rendered(file.read_text()))
