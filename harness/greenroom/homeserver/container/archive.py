"""Copy files into and out of a container as tar archives. Unlike a bind mount, this works with a remote engine."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile

BESIDE_SQLITE = ("-wal", "-shm", "-journal")
MEMORY_BYTES = 16 << 20  # larger archives go through a temporary file


def pack(folder: str, files: Mapping[str, bytes], *, uid: int, gid: int) -> bytes:
    """Pack files for `folder`, an absolute path in the container. Only `uid`, their owner, can read them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        made: set[PurePosixPath] = set()
        root = PurePosixPath(folder.lstrip("/"))
        for name, content in {"": b"", **files}.items():
            path = root / name
            parents = [root] if not name else [p for p in reversed(path.parents) if p.is_relative_to(root)]
            for parent in parents:
                if parent not in made:
                    tar.addfile(_entry(parent, uid, gid, tarfile.DIRTYPE, 0o700))
                    made.add(parent)
            if name:
                entry = _entry(path, uid, gid, tarfile.REGTYPE, 0o600)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _entry(path: PurePosixPath, uid: int, gid: int, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(str(path))
    entry.type, entry.mode, entry.uid, entry.gid = kind, mode, uid, gid
    return entry


def unpack(chunks: Iterable[bytes], folder: Path) -> list[str]:
    """Unpack the engine's archive of one directory into `folder`: regular files only, mode 0600. Return their names.

    The archive's top directory is dropped. Links, devices and paths that lead out of `folder` are not written, because
    programs in the container are not trusted with this machine's files.

    What SQLite keeps beside a database is replaced with it, or removed if the archive has none: the database of a clean
    stop is damaged by the write-ahead log that an earlier crash has left here.
    """
    written = []
    with SpooledTemporaryFile(max_size=MEMORY_BYTES) as spool:
        for chunk in chunks:
            spool.write(chunk)
        spool.seek(0)
        with tarfile.open(fileobj=spool, mode="r:") as tar:
            for member in tar:
                parts = PurePosixPath(member.name).parts[1:]
                if not member.isreg() or not parts or ".." in parts or member.name.startswith("/"):
                    continue
                target = folder.joinpath(*parts)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                draft = target.with_name(f".{target.name}.new")
                draft.touch(mode=0o600)
                with draft.open("wb") as out:
                    while chunk := content.read(1 << 20):
                        out.write(chunk)
                for beside in (f"{target.name}{end}" for end in BESIDE_SQLITE):
                    if "/".join((*parts[:-1], beside)) not in written:
                        target.with_name(beside).unlink(missing_ok=True)
                draft.replace(target)
                written.append("/".join(parts))
    return written
