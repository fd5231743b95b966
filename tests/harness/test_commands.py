"""The command line: the same tasks for `invoke` and `greenroom`, quick to list, and two things that invoke lacks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from invoke.exceptions import Exit
from invoke.parser import Parser

from greenroom.commands.tasks import namespace

PROMISED = {"dev", "seed", "reset", "status", "down", "doctor", "logs", "test", "e2e", "lint", "types"}


def parse(*argv: str):
    return Parser(contexts=namespace.to_contexts()).parse_argv(list(argv))


def test_every_promised_task_is_there_with_a_one_line_help():
    """The README's table and `--list` show the same."""
    assert namespace.task_names.keys() >= PROMISED
    for name in PROMISED:
        assert namespace[name].__doc__, name


@pytest.mark.parametrize(("argv", "name"), [(["seed"], "qa"), (["seed", "mine.yaml"], "mine.yaml")])
def test_a_blueprint_may_be_named_or_left_out(argv, name):
    """invoke itself has no optional positional arguments."""
    (context,) = parse(*argv)

    assert context.as_kwargs["name"] == name


def test_flags_may_stand_on_either_side_of_the_name():
    """`seed --dry-run qa` and `seed qa --dry-run` are the same."""
    assert parse("seed", "--dry-run", "mine")[0].as_kwargs == parse("seed", "mine", "--dry-run")[0].as_kwargs


@pytest.mark.parametrize("argv", [["dev", "--frob"], ["frob"], ["dev", "--port"]])
def test_bad_usage_is_one_line_and_exit_code_2(argv):
    """invoke itself exits with 1."""
    with pytest.raises(Exit) as caught:
        parse(*argv)

    assert caught.value.code == 2
    assert "\n" not in caught.value.message


def test_listing_the_tasks_imports_nothing_heavy():
    """Neither nio nor aiohttp nor pydantic is needed to list tasks, nor to load the pytest plugin."""
    code = "import sys, greenroom.commands.tasks, greenroom.plugin; print(*sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert not {"nio", "aiohttp", "pydantic", "rich", "docker", "synapse"} & set(modules)
