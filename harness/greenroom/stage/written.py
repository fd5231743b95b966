"""A script as the text of a pytest file that repeats it with Greenroom's fixtures.

A pure function of the script. Where a test cannot find again what a step was about, it says so in a comment.
"""

from __future__ import annotations

from greenroom.stage.script import BotStep, FaultStep, Scene, Script
from greenroom.stage.writing.lines import LOST, Lines
from greenroom.stage.writing.names import literal

LOSE = '''

def lose(bot, variable):
    """Delete what the bot keeps at the path that a variable of its environment names."""
    path = Path(bot.env[variable])
    for file in path.parent.glob(f"{path.name}*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
'''


def as_test(script: Script) -> str:
    """Return the script as a test file. It passes with a bot that does again what it did."""
    scene = script.scene()
    has_faults = any(isinstance(step, FaultStep) for step in script.steps)
    indent = "        " if has_faults else "    "
    body = "\n".join(f"{indent}{line}" if line else "" for line in ["", *Lines(script, scene).written()])
    uses = {name: used in body for name, used in (("checks", "checks."), ("must", "must."), ("re", "re.compile("))}
    loses = any(isinstance(step, BotStep) and step.action in LOST for step in script.steps)
    standard = [line for line, wanted in (("import re", uses["re"]), ("import shutil", loses)) if wanted]
    standard += ["from pathlib import Path"] if loses else []
    ours = ", ".join(name for name in ("checks", "must") if uses[name])
    own = [f"from greenroom import {ours}"] if ours else []
    own += ["from greenroom.faults import fault_proxy"] if has_faults else []
    blocks = ["\n".join(block) for block in (standard, ["import pytest"], own) if block]
    imports = "\n\n".join(blocks)
    return f"{_docstring(scene)}\n\n{imports}\n{LOSE if loses else ''}\n\n{_head(scene, has_faults)}{body}\n"


def _docstring(scene: Scene) -> str:
    printable = "".join(letter for letter in " ".join(scene.made_by.split()) if letter.isprintable())
    made_by = printable.replace("\\", "").replace('"', "'")
    return (
        '"""What was done on the stage, as a test.\n\n'
        f"Written by: {made_by}\n"
        "Keep this file in the folder of the project, and run it from there: pytest test_stage.py\n"
        '"""'
    )


def _head(scene: Scene, has_faults: bool) -> str:
    """Return the test down to where the bot runs; what follows is indented as its last line is."""
    marks = ["@pytest.mark.asyncio"]
    if scene.variables:
        values = "".join(f", {name}={literal(value)}" for name, value in scene.variables.items())
        marks.append(f"@pytest.mark.blueprint({literal(scene.blueprint)}{values})")
    blueprint = "" if scene.variables else f"blueprint={literal(scene.blueprint)}"
    lines = [*marks, "async def test_stage(fresh_homeserver, person, bot):"]
    lines.append(f"    server = await fresh_homeserver({blueprint})")
    indent = "    "
    if has_faults:
        lines.append("    async with fault_proxy(server) as faults:")
        indent *= 2
    own = f"account=server.seeded.account({literal(scene.bot)})" if scene.bot in scene.accounts else "server=server"
    arguments = [*([literal(scene.command)] if scene.command else []), own]
    arguments += ["through=faults"] if has_faults else []
    if scene.environment:
        pairs = ", ".join(f"{literal(name)}: {literal(value)}" for name, value in scene.environment.items())
        arguments.append(f"env={{{pairs}}}")
    lines.append(f"{indent}my_bot = await bot({', '.join(arguments)})")
    return "\n".join(lines)
