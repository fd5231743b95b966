"""README, help and behaviour say the same."""

from __future__ import annotations

import re

import pytest

from docs.render import DOCUMENTS, PARTS, ROOT, rendered
from greenroom.commands.tasks import namespace
from greenroom.errors import BlueprintError
from greenroom.seed.load import parse_blueprint


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_generated_parts_of_a_document_are_up_to_date(document):
    """Tables come from the code; `python -m docs.render` writes them anew."""
    text = (ROOT / document).read_text()

    assert rendered(text) == text, "run: python -m docs.render"


def test_every_generated_part_is_used_somewhere():
    """A table that no document shows is dead code."""
    everything = "".join((ROOT / document).read_text() for document in DOCUMENTS)

    assert [name for name in PARTS if f"<!-- {name} -->" not in everything] == []


def test_every_command_that_the_readme_names_exists():
    """`invoke NAME` and `python3 tasks.py NAME` anywhere in the text are real tasks."""
    text = (ROOT / "README.md").read_text()

    named = set(re.findall(r"(?:invoke|tasks\.py|greenroom) ([a-z][a-z0-9-]+)", text))

    assert named - {name.replace("_", "-") for name in namespace.task_names} == set()


YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blueprints_of_the_guide() -> list[str]:
    return YAML.findall((ROOT / "docs/blueprints.md").read_text())


def test_every_blueprint_in_the_guide_can_be_used():
    """The examples are complete files."""
    examples = blueprints_of_the_guide()

    assert len(examples) >= 3
    for text in examples:
        parse_blueprint(text, "docs/blueprints.md")


def test_the_mistake_in_the_guide_is_what_the_program_prints():
    """The sample is the first example with a misspelled name."""
    wrong = blueprints_of_the_guide()[0].replace("creator: alice", "creator: alcie")

    with pytest.raises(BlueprintError) as caught:
        parse_blueprint(wrong, "mine.yaml")

    assert f"    greenroom: {caught.value}\n" in (ROOT / "docs/blueprints.md").read_text()


def test_every_file_that_a_document_names_exists():
    """Paths in backquotes or links that look like files of this repository."""
    for document in DOCUMENTS:
        text = (ROOT / document).read_text()
        for path in re.findall(r"\b((?:bot|reset|harness|docs|tests|compose)/[\w/.-]*\w(?:\.\w+)?)", text):
            assert list(ROOT.glob(f"{path}*")), f"{document} names {path}"
