"""The inputs of our images, and the messages when an image cannot be built."""

from __future__ import annotations

import re
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from greenroom.commands.images.build import build, find_base, timed, watch
from greenroom.commands.images.catalog import IMAGES, image_named
from greenroom.commands.images.debian_base import find_debootstrap, run_debootstrap
from greenroom.commands.images.wheels import download_wheels, platforms
from greenroom.errors import HarnessError, Misuse, Unavailable
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.synapse import COMMAND, ENTRYPOINT, UID

ROOT = Path(__file__).parents[2]


def test_our_synapse_image_starts_as_the_harness_starts_it():
    """Our Synapse image has the entry point, command and user with which the harness starts a container."""
    dockerfile = (ROOT / IMAGES["synapse"].dockerfile).read_text()

    assert f"ENTRYPOINT {ENTRYPOINT}".replace("'", '"') in dockerfile
    assert f"CMD {COMMAND}".replace("'", '"') in dockerfile
    assert f"USER {UID}:{UID}" in dockerfile


@pytest.mark.parametrize("name", IMAGES)
def test_every_dockerfile_takes_another_base_and_copies_only_what_the_context_has(name):
    """A Dockerfile accepts another BASE_IMAGE and copies only paths of the build context."""
    image = IMAGES[name]
    files = image.files(ROOT)
    dockerfile = files[image.dockerfile].decode()

    assert f"ARG BASE_IMAGE={image.base}\n" in dockerfile
    for line in re.findall(r"^COPY (?!--from)(.*)$", dockerfile, re.MULTILINE):
        for source in line.split()[:-1]:
            assert source.endswith("*") or any(each == source or each.startswith(f"{source}/") for each in files), (
                source
            )


def test_the_bots_requirements_are_what_it_imports():
    """The bot's image installs exactly the packages that the bot imports."""
    imported = set()
    for path in (ROOT / "bot").rglob("*.py"):
        imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    known = {"nio": "matrix-nio", "aiohttp": "aiohttp", "structlog": "structlog", "pydantic": "pydantic"}
    listed = (ROOT / IMAGES["bot"].requirements).read_text().splitlines()

    wanted = {Requirement(line.partition("#")[0]).name for line in listed if line.partition("#")[0].strip()}

    assert wanted == {known[name] for name in imported & known.keys()}
    assert all(distribution(name) for name in wanted)


def test_a_change_of_any_input_is_another_fingerprint(tmp_path):
    """The fingerprint, by which `invoke image` decides to build, changes with any input and with the base."""
    image = IMAGES["postgres"]
    for name, content in image.files(ROOT).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    before = image.fingerprint(tmp_path, "base:1")

    assert image.fingerprint(tmp_path, "base:1") == before
    assert image.fingerprint(tmp_path, "base:2") != before
    (tmp_path / image.dockerfile).write_text("FROM scratch\n")
    assert image.fingerprint(tmp_path, "base:1") != before


def test_wheels_are_asked_for_by_every_name_of_the_platform():
    """pip matches platform names literally, so wheels are requested for every manylinux version."""
    assert {"manylinux_2_17_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64"} <= set(platforms("x86_64"))
    assert "manylinux_2_28_aarch64" in platforms("arm64")


def test_a_missing_wheel_is_reported_in_pips_own_words(tmp_path, monkeypatch):
    """If pip cannot find a wheel, the error is one sentence with pip's own reason."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    (tmp_path / "r.txt").write_text("no-such-package-of-ours==1.0\n")
    (tmp_path / "c.txt").write_text("")

    with pytest.raises(HarnessError, match=r"pip could not download the image's wheels: .*no-such-package-of-ours"):
        download_wheels(tmp_path / "r.txt", tmp_path / "c.txt", tmp_path, python="3.13", machine="x86_64")


def test_without_root_a_base_is_refused_with_every_alternative():
    """Without root, debootstrap cannot work: the error names every other way to get a base."""
    with pytest.raises(Unavailable, match=r"debootstrap needs root.*apt-get install debootstrap as root.*--base"):
        find_debootstrap(print, uid=1000)


def test_an_unknown_image_is_refused_with_the_list():
    """An unknown image name is refused with the names that exist."""
    with pytest.raises(Misuse, match="no such image: 'mysql'; there are synapse, bot, postgres"):
        image_named("mysql")


class Images:
    """The images of an engine without a registry."""

    def __init__(self, **labels: dict[str, str]) -> None:
        self.names = labels
        self.images = self
        self.labels: dict[str, str] = {}

    def get(self, name: str) -> Images:
        import docker.errors

        if name not in self.names:
            raise docker.errors.ImageNotFound(name)
        self.labels = self.names[name]
        return self


def test_an_image_of_the_same_inputs_is_not_built_again():
    """If the engine has an image of the same inputs, nothing is built and no network is needed."""
    image = IMAGES["bot"]
    known = {image.tag: {"dev.greenroom.inputs": image.fingerprint(ROOT, image.base)}}
    said: list[str] = []

    build(Engine(Images(**known), "", ""), image, ROOT, said.append)

    assert said == ["greenroom-bot:latest: up to date"]


def test_a_base_that_is_here_is_taken_before_any_registry_is_asked():
    """A base that the engine has is used before any registry is asked."""
    engine = Engine(Images(**{"greenroom-base-python:trixie": {}}), "", "")

    assert find_base(engine, IMAGES["synapse"], print) == "greenroom-base-python:trixie"


def test_each_phase_of_a_base_is_said_once():
    """debootstrap works for a minute and prints hundreds of lines."""
    lines = [
        "I: Retrieving a",
        "I: Validating a",
        "I: Retrieving b",
        "I: Extracting a...",
        "I: Configuring a...",
        "odd",
    ]
    said: list[str] = []

    run_debootstrap([sys.executable, "-c", f"print({chr(10).join(lines)!r})"], said.append)

    assert said == [
        "base: downloading packages",
        "base: extracting the core of the system",
        "base: configuring packages",
    ]


def test_a_failed_debootstrap_is_reported_in_its_own_last_words():
    """Also if it has none."""
    fails = "import sys; print('one'); print(); print('E: no mirror', file=sys.stderr); sys.exit(7)"

    with pytest.raises(HarnessError, match=r"^debootstrap failed: (one / )?E: no mirror"):
        run_debootstrap([sys.executable, "-c", fails], print)
    with pytest.raises(HarnessError, match=r"^debootstrap failed: exit code 7$"):
        run_debootstrap([sys.executable, "-c", "raise SystemExit(7)"], print)


def test_each_long_step_of_a_build_is_said():
    """In the engine's own count; what the steps print is kept for a failure."""
    output = [
        {"stream": "Step 1/3 : FROM debian\n"},
        {"stream": " ---> 1234\n"},
        {"stream": "Step 2/3 : COPY a b\nStep 3/3 : RUN " + "x" * 200 + "\n"},
        {"stream": "no space\n"},
        {"error": "exit code 1"},
    ]
    said: list[str] = []

    with pytest.raises(HarnessError, match=r"building \S+ failed: exit code 1\n  last lines:\n(.*\n)*    no space"):
        watch(IMAGES["bot"], output, said.append)

    steps = ("2/3, COPY a b", "3/3, RUN " + "x" * 75 + "…")
    assert said == [f"greenroom-bot:latest: step {step}" for step in steps]


def test_progress_has_the_seconds_since_its_beginning():
    """Each line of a build begins with them."""
    now = [100.0]
    said: list[str] = []
    say = timed(said.append, lambda: now[0])

    say("one")
    now[0] = 112.4
    say("two")

    assert said == ["  0 s  one", " 12 s  two"]
