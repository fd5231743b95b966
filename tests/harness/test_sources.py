"""`--watch` notices every edit of a source file."""

from __future__ import annotations

import asyncio

import pytest

from greenroom.commands.dev.follow import Sources


async def next_change(sources: Sources) -> str:
    """Return the name of the next changed file."""
    path = await asyncio.wait_for(sources.changed(), 5)
    return path.name


async def test_a_file_saved_while_nothing_waits_counts_as_changed(tmp_path):
    """A file saved while the bot starts, or restarts, counts as changed. So does a deleted one."""
    sources = Sources(tmp_path)
    (tmp_path / "during_start.py").touch()
    assert await next_change(sources) == "during_start.py"

    (tmp_path / "during_restart.py").touch()
    assert await next_change(sources) == "during_restart.py"

    (tmp_path / "during_start.py").unlink()
    assert await next_change(sources) == "during_start.py"


async def test_only_source_files_count_and_each_change_once(tmp_path):
    """Data files, hidden folders and virtual environments are no sources, and each change is reported once."""
    (tmp_path / "bot.py").touch()
    sources = Sources(tmp_path)
    for folder in (".greenroom", "__pycache__", "venv"):
        (tmp_path / folder).mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    for name in ("notes.txt", ".greenroom/a.py", "__pycache__/a.py", "venv/a.py"):
        (tmp_path / name).touch()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sources.changed(), 0.1)
