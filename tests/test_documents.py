"""README, help and behaviour say the same."""

from __future__ import annotations

import re
import tomllib

import pytest

from docs.render import DOCUMENTS, PARTS, ROOT, files, rendered
from docs.samples import ECHO_TEST, SAMPLES, sample_in
from greenroom.commands.tasks import namespace
from greenroom.errors import BlueprintError
from greenroom.homeserver.synapse_process import REQUIREMENT
from greenroom.seed.load import parse_blueprint


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_generated_parts_of_a_document_are_up_to_date(document):
    """Tables come from the code; `python -m docs.render` writes them anew."""
    text = (ROOT / document).read_text()

    assert rendered(text) == text, "run: python -m docs.render"


@pytest.mark.parametrize("file", files(), ids=lambda file: file.name)
def test_a_file_that_is_generated_as_a_whole_is_up_to_date(file):
    """The HTTP interface's document comes from the code, the plots from the committed results."""
    assert file.read_text() == files()[file], "run: python -m docs.render"


def test_every_generated_part_is_used_somewhere():
    """A table that no document shows is dead code."""
    everything = "".join((ROOT / document).read_text() for document in DOCUMENTS)

    assert [name for name in PARTS if f"<!-- {name} -->" not in everything] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_that_a_document_names_exists(document):
    """`invoke NAME` and `python3 tasks.py NAME` anywhere in the text are real tasks."""
    text = (ROOT / document).read_text()

    named = set(re.findall(r"(?:\binvoke|tasks\.py|\bgreenroom) (?!import\b)([a-z][a-z0-9-]+)", text))

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
        for path in re.findall(r"(?<![\w./])((?:bot|reset|harness|docs|tests|compose)/[\w/.-]*\w(?:\.\w+)?)", text):
            assert list(ROOT.glob(f"{path}*")), f"{document} names {path}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_document_that_another_links_exists(document):
    """Links between the documents in docs/ and from the README lead somewhere."""
    links = re.findall(r"\]\(([\w./-]+\.(?:md|svg))\)", (ROOT / document).read_text())

    assert [link for link in links if not ((ROOT / document).parent / link).exists()] == []


def test_the_readme_leads_to_every_document():
    """A guide that the README does not link is found by nobody."""
    text = (ROOT / "README.md").read_text()

    assert [file.name for file in (ROOT / "docs").glob("*.md") if f"(docs/{file.name})" not in text] == []


def test_the_readme_has_every_sample_and_the_test_as_it_is():
    """Each sample has commands in docs/samples.py. `tests/e2e/test_readme.py` runs them."""
    text = (ROOT / "README.md").read_text()

    assert re.findall(r"<!-- sample (\S+) -->", text) == list(SAMPLES)
    for name, commands in SAMPLES.items():
        assert [f"$ {command.line}" for command in commands] == re.findall(r"^\$ .*", sample_in(text, name), re.M)
    assert f"```python\n{(ROOT / ECHO_TEST).read_text()}```" in text


def test_the_cure_for_a_missing_synapse_is_the_requirement_of_our_extra():
    """The hint names what `[embedded]` adds, because the extra itself is found only where Greenroom is published."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    assert extras["embedded"] == [REQUIREMENT]
