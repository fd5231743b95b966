"""A snapshot: a folder with files, and a manifest that shows whether they are whole.

`writing` fills a draft beside the target and renames it when everything is on the disk. So a crash leaves a draft and
never half a snapshot. A draft's name holds the pid and start time of its writer: drafts of dead writers are removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from greenroom.errors import HarnessError
from greenroom.processes.procfs import ProcessIdentity, myself

FORMAT = 1
MANIFEST = "manifest.json"
FILES = "files"  # the folder of the files, beside the manifest
DRAFT = ".draft-"


class SnapshotDamaged(HarnessError):
    """A snapshot is not as it was written, or another version of Greenroom has written it."""

    def __init__(self, folder: Path, problem: str) -> None:
        super().__init__(f"the snapshot {folder} cannot be used: {problem}. Try: make it again")
        self.folder = folder
        self.problem = problem


class SnapshotExists(HarnessError):
    """There is a snapshot of that name already."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"the snapshot {folder} exists already")
        self.folder = folder


@dataclass(frozen=True)
class KeptFile:
    """What the manifest says about one file."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Snapshot:
    """A snapshot whose manifest is whole. `facts` are its writer's, as JSON has them; `files` are by their names."""

    folder: Path
    facts: Mapping[str, Any]
    files: Mapping[str, KeptFile]

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(file.size_bytes for file in self.files.values())

    def check(self) -> None:
        """Read every file. Raises SnapshotDamaged if one is missing, altered, or not in the manifest."""
        self._check_names()
        for name in self.files:
            self._compare(name, self.folder / FILES / name)

    def copy_to(self, folder: Path, *, leave_out: Collection[str] = ()) -> None:
        """Copy the files below `folder`, private, except those named in `leave_out`.

        Raises SnapshotDamaged, or HarnessError on a full disk; then the copied files are removed again. An old
        database's `-wal` must not be in the folder.
        """
        self._check_names()
        names = self.files.keys() - set(leave_out)
        try:
            for name in names:
                self._copy(name, folder / name)
        except BaseException as error:
            for name in names:
                (folder / name).unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise HarnessError(f"{self.folder} cannot be copied to {folder}: {error.strerror}") from error
            raise

    def _copy(self, name: str, target: Path) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        target.touch(mode=0o600)
        with self._none_missing():
            shutil.copyfile(self.folder / FILES / name, target)  # inside the kernel, where that is possible
        # The copy is read, and not the original: what was compared is what a server will read. The copy is still in
        # memory: with 500 rooms (29 MB) copying takes 13 ms and this 24 ms. So nothing ever runs on unchecked data.
        self._compare(name, target)

    def _check_names(self) -> None:
        present = set(_names(self.folder / FILES))
        if lost := sorted(self.files.keys() - present):
            raise SnapshotDamaged(self.folder, f"{lost[0]} is missing")
        if more := sorted(present - self.files.keys()):
            raise SnapshotDamaged(self.folder, f"{more[0]} does not belong to it")

    def _compare(self, name: str, path: Path) -> None:
        with self._none_missing():
            found = _describe(path)
        if found.size_bytes != self.files[name].size_bytes:
            raise SnapshotDamaged(
                self.folder, f"{name} has {found.size_bytes} bytes, not {self.files[name].size_bytes}"
            )
        if found.sha256 != self.files[name].sha256:
            raise SnapshotDamaged(self.folder, f"{name} has been altered")

    @contextmanager
    def _none_missing(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:  # removed since the names were read
            raise SnapshotDamaged(self.folder, f"{Path(error.filename).name} is missing") from None


def read(folder: Path) -> Snapshot | None:
    """Return the snapshot in a folder without reading its files; None if the folder does not exist.

    Raises SnapshotDamaged if the manifest is missing or altered, or if another version of the format has written it.
    """
    try:
        kept = json.loads((folder / MANIFEST).read_text())
        if kept["format"] != FORMAT:
            raise SnapshotDamaged(folder, f"it has format {kept['format']}, and this Greenroom reads {FORMAT}")
        if kept["sha256"] != _hash(kept["body"]):
            raise SnapshotDamaged(folder, f"{MANIFEST} has been altered")
        files = {name: KeptFile(**file) for name, file in kept["body"]["files"].items()}
        return Snapshot(folder, kept["body"]["facts"], files)
    except FileNotFoundError:
        if not folder.exists():
            return None
        raise SnapshotDamaged(folder, f"{MANIFEST} is missing") from None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise SnapshotDamaged(folder, f"{MANIFEST} cannot be read ({type(error).__name__}: {error})") from None


@contextmanager
def writing(target: Path, facts: Mapping[str, Any]) -> Iterator[Path]:
    """Yield an empty private folder to fill. At the end of the block its files become the snapshot `target`.

    `facts` are read at the end, so the block may still add some. Raises SnapshotExists if there is a `target` by then.
    If the block fails, nothing is left.
    """
    remove_drafts(target.parent)
    draft = new_draft(target.parent)
    try:
        (draft / FILES).mkdir(mode=0o700)
        yield draft / FILES
        _seal(draft, facts)
        try:
            draft.rename(target)
        except OSError:
            if target.exists():
                raise SnapshotExists(target) from None
            raise
        _sync(target.parent)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def new_draft(parent: Path) -> Path:
    """Make a private folder beside snapshots, which is removed by others when this process has ended."""
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = parent / f"{DRAFT}{myself().tag}-{secrets.token_hex(4)}"
    draft.mkdir(mode=0o700)
    return draft


def remove_drafts(parent: Path) -> None:
    """Remove what writers have left that were killed. Drafts of living processes stay."""
    for draft in parent.glob(f"{DRAFT}*"):
        writer = ProcessIdentity.of_tag(draft.name.removeprefix(DRAFT))
        if writer is None or not writer.is_alive():
            shutil.rmtree(draft, ignore_errors=True)


def _seal(draft: Path, facts: Mapping[str, Any]) -> None:
    """Bring every file to the disk, then write the manifest."""
    files = {}
    for name in _names(draft / FILES):
        _sync(draft / FILES / name)
        files[name] = asdict(_describe(draft / FILES / name))
    body = json.loads(json.dumps({"facts": dict(facts), "files": files}))  # as a reader will have it
    manifest = draft / MANIFEST
    manifest.touch(mode=0o600)
    manifest.write_text(json.dumps({"format": FORMAT, "sha256": _hash(body), "body": body}, indent=1))
    _sync(manifest)
    for folder in (draft / FILES, draft):
        _sync(folder)


def _names(folder: Path) -> list[str]:
    """Return the names of all regular files below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(path.relative_to(folder).as_posix() for path in found)


def _describe(path: Path) -> KeptFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return KeptFile(file.tell(), digest.hexdigest())


def _hash(body: Any) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no fsync for folders
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
