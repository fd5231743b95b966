"""`show`: a failure bundle, or the table of a scenarios run, as a page in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from greenroom.errors import Misuse
from greenroom.evidence import FAILURES
from greenroom.evidence.report.page import FILE, INDEX
from greenroom.spelling import command


def show(what: str) -> int:
    """Open the page of a bundle in the browser, and print where it is. Raises Misuse if there is none."""
    page = find_page(Path(what)) if what else newest_page(FAILURES)
    print(page.resolve())
    if not webbrowser.open(page.resolve().as_uri()):
        print("No browser could be started here; open that file in one.")
    return 0


def find_page(path: Path) -> Path:
    """Return the page that a person means: of a bundle, of a run, or the newest below a folder. Raises Misuse."""
    if not path.exists():
        raise Misuse(f"there is no {path}; pytest prints `failure bundle: …`, which is the path to give")
    if path.is_file():
        if path.suffix != ".html":
            raise Misuse(f"{path} is no page; give the bundle, which is a folder: {command(f'show {path.parent}')}")
        return path
    return next((path / name for name in (INDEX, FILE) if (path / name).is_file()), None) or newest_page(path)


def newest_page(folder: Path) -> Path:
    """Return the page below a folder that was written last; a run's table rather than one of its bundles."""
    pages = [page for name in (FILE, INDEX) for page in folder.rglob(name)]
    if not pages:
        raise Misuse(
            f"there is no {FILE} in {folder} or below; a failed test, `{command('scenarios')}` and "
            f"`{command('run')}` leave one"
        )
    return max(pages, key=lambda page: page.stat().st_mtime)
