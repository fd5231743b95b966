"""The pictures of the README can be taken again, as their script says."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

from docs.pictures import PICTURES, ROOT, SIZE, TAKEN
from tests.chromium import find_chromium

ENOUGH_BYTES = 30_000  # an empty page of this size has some 5,000


def test_the_script_takes_every_picture_of_a_real_run(tmp_path):
    """Each exists in the documents too, in the same size; their contents differ by times and ids."""
    find_chromium()
    argv = [sys.executable, "-m", "docs.pictures", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    for folder in (tmp_path, PICTURES):
        assert sorted(path.stem for path in folder.glob("*.png")) == sorted(TAKEN)
        for picture in folder.glob("*.png"):
            assert size_of(picture) == (SIZE["width"], SIZE["height"])
            assert picture.stat().st_size > ENOUGH_BYTES


def size_of(picture: Path) -> tuple[int, int]:
    """Read width and height from a PNG's first chunk (https://www.w3.org/TR/png/#11IHDR)."""
    return struct.unpack(">II", picture.read_bytes()[16:24])
