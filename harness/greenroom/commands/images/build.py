"""Build an image, on a base from a registry or, if no registry answers, on a base made here."""

from __future__ import annotations

import io
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from greenroom.commands.images.catalog import INPUTS, SUITE, Image
from greenroom.commands.images.debian_base import Say, make_debian_base
from greenroom.commands.images.wheels import download_wheels
from greenroom.errors import HarnessError, Unavailable
from greenroom.homeserver.container.engine import Engine, asking, reason
from greenroom.homeserver.container.image import is_present

STAGE = "dev.greenroom.stage"
TAIL_LINES = 12
# The engine's own words before each line of a Dockerfile that takes time.
STEP = re.compile(r"Step (\d+/\d+) : ((?:RUN|COPY) .+)")


def build(engine: Engine, image: Image, checkout: Path, say: Say, *, base: str = "", force: bool = False) -> None:
    """Build an image, unless the engine has one of the same inputs. Raises HarnessError with the build's last lines."""
    if not force and is_up_to_date(engine, image, checkout, base):
        say(f"{image.tag}: up to date")
        return
    began, tell = time.monotonic(), timed(say)
    base = base or find_base(engine, image, tell)
    with tempfile.TemporaryDirectory(prefix="greenroom-image-") as temporary:
        wheels = Path(temporary) / "wheels"
        if image.requirements:
            python, machine = _python_in(engine, base)
            tell(f"{image.tag}: downloading wheels for Python {python} on {machine}")
            wheels.mkdir()
            download_wheels(
                checkout / image.requirements,
                checkout / "constraints.txt",
                wheels,
                python=python,
                machine=machine,
                unwheeled=image.unwheeled,
            )
        tell(f"{image.tag}: building on {base}")
        _build(engine, image, checkout, base, wheels, tell)
    size_mib = engine.client.images.get(image.tag).attrs["Size"] // 1024**2
    say(f"{image.tag}: built, {size_mib} MiB, {time.monotonic() - began:.0f} s; from now on it needs no network")


def timed(say: Say, clock: Callable[[], float] = time.monotonic) -> Say:
    """Return a `say` that puts the seconds since now before each line."""
    began = clock()
    return lambda line: say(f"{clock() - began:3.0f} s  {line}")


def find_base(engine: Engine, image: Image, say: Say) -> str:
    """Return a base that the engine has. Pull or make one if necessary."""
    ours = local_base(image)
    if is_present(engine, image.base):
        return image.base
    if is_present(engine, ours):
        return ours
    try:
        say(f"base: pulling {image.base}")
        engine.client.images.pull(image.base)
    except Exception as error:  # docker's, requests' or urllib3's: all mean that there is no registry
        say(f"base: no registry answers ({_line(reason(error))})")
        make_debian_base(engine, ours, SUITE, image.packages, say)
        return ours
    return image.base


def local_base(image: Image) -> str:
    """Return the name of the base that we make ourselves. Images with the same packages share it."""
    kind = "postgres" if any(name.startswith("postgresql") for name in image.packages) else "python"
    return f"greenroom-base-{kind}:{SUITE}"


def is_up_to_date(engine: Engine, image: Image, checkout: Path, base: str = "") -> bool:
    """Return whether the engine has the image, made from the checkout's present files."""
    if not is_present(engine, image.tag):
        return False
    known = engine.client.images.get(image.tag).labels.get(INPUTS)
    bases = [base] if base else [image.base, local_base(image)]
    return known in [image.fingerprint(checkout, each) for each in bases]


def _python_in(engine: Engine, base: str) -> tuple[str, str]:
    script = "import platform, sys; print('%d.%d' % sys.version_info[:2], platform.machine())"

    def ask() -> bytes:
        run: bytes = engine.client.containers.run(
            base, ["python3", "-c", script], entrypoint=[], remove=True, network_disabled=True
        )
        return run

    try:
        python, machine = asking(f"asking {base} for its Python", ask).decode().split()
    except ValueError:
        raise Unavailable(
            f"{base} as a base", "its Python does not run", "another --base, with python3 and venv"
        ) from None
    return python, machine


def _build(engine: Engine, image: Image, checkout: Path, base: str, wheels: Path, say: Say) -> None:
    arguments = {"BASE_IMAGE": base}
    if image.requirements:
        arguments["PIP_OPTIONS"] = "--no-index"
    with tempfile.TemporaryFile() as context:
        _pack_context(context, image, checkout, wheels)
        context.seek(0)
        output = asking(
            "building an image",
            lambda: engine.client.api.build(
                fileobj=context,
                custom_context=True,
                dockerfile=image.dockerfile,
                tag=image.tag,
                buildargs=arguments,
                labels={INPUTS: image.fingerprint(checkout, base)},
                rm=True,
                forcerm=True,
                decode=True,
            ),
        )
        asking("building an image", lambda: watch(image, output, say))
    # The legacy builder keeps the build stage as an image without a name; newer builders leave none.
    filters = {"dangling": True, "label": f"{STAGE}=build"}
    asking("removing the build stage", lambda: engine.client.images.prune(filters=filters))


def _pack_context(context: Any, image: Image, checkout: Path, wheels: Path) -> None:
    with tarfile.open(fileobj=context, mode="w") as tar:
        for name, content in image.files(checkout).items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(entry, io.BytesIO(content))
        if image.requirements:
            for wheel in sorted(wheels.iterdir()):
                tar.add(wheel, arcname=f"{image.wheels}/{wheel.name}")


def watch(image: Image, output: Iterable[dict[str, Any]], say: Say) -> None:
    """Read what the engine tells of a build, and say each long step. Raises HarnessError with the last lines."""
    lines: list[str] = []
    for part in output:
        if "error" in part:
            tail = "\n".join(f"    {line}" for line in lines[-TAIL_LINES:])
            raise HarnessError(f"building {image.tag} failed: {str(part['error']).strip()}\n  last lines:\n{tail}")
        new = [line for line in str(part.get("stream", "")).splitlines() if line.strip()]
        for step in filter(None, map(STEP.match, new)):
            say(f"{image.tag}: step {step[1]}, {_line(step[2], 80)}")
        lines += new


def _line(text: str, limit: int = 120) -> str:
    first = (text.splitlines() or [""])[0]
    return first if len(first) <= limit else first[: limit - 1] + "…"
