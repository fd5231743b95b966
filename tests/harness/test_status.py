"""`status` where the bot's own check gives no answer."""

from __future__ import annotations

import json

from greenroom.commands.dev.folder import DevFolder
from greenroom.commands.dev.status import status


def test_a_check_that_failed_is_no_drift(tmp_path, monkeypatch, capsys):
    """Python ends with 1 after a traceback, which is also the code for drift. Without a report nothing is known."""
    broken = tmp_path / "path" / "greenroom_bot"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(broken.parent))
    monkeypatch.setenv("MATRIX_HOMESERVER", "http://127.0.0.1:1")

    assert status(DevFolder(tmp_path), as_json=True) == 3

    said = json.loads(capsys.readouterr().out)
    assert (said["verdict"], said["problem"]) == ("cannot tell", "RuntimeError: broken")
