"""A homeserver kind is data: one description and one line in the table make it known everywhere."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from greenroom.commands import doctor
from greenroom.errors import CapabilityMissing, Misuse, Unavailable
from greenroom.homeserver import Appservice, HomeserverSettings
from greenroom.homeserver.choose import Choice, choose, make_homeserver
from greenroom.homeserver.container.engine import Engine
from greenroom.homeserver.container.image import candidates, cure
from greenroom.homeserver.container.start import ContainerHomeserver
from greenroom.homeserver.interface import Backend, Capability
from greenroom.homeserver.kind import KINDS, find_kind
from greenroom.homeserver.synapse import SYNAPSE

THIRD = replace(SYNAPSE, name="third", image="third:1", own_image="", process=None)


@pytest.fixture
def third(monkeypatch):
    """A third kind, added to the table as a contributor would add one."""
    monkeypatch.setitem(KINDS, "third", f"{__name__}:THIRD")


def test_each_kind_of_the_table_is_described_under_its_own_name():
    """A kind has the same name on the command line, in `dev.json` and in the table."""
    for name in KINDS:
        kind = find_kind(name)
        assert (kind.name, str(kind)) == (name, name)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_has_a_way_to_make_accounts(name):
    """The way by which a kind makes accounts is one of its capabilities."""
    kind = find_kind(name)

    assert kind.registration in (Capability.SHARED_SECRET_REGISTRATION, Capability.REGISTRATION_TOKEN)
    assert kind.registration in kind.capabilities


@pytest.mark.parametrize("name", KINDS)
def test_each_lack_of_a_kind_reads_as_one_message(name):
    """A missing capability has a reason and something that stands in for it, as parts of one line."""
    kind = find_kind(name)

    for lack, why in kind.missing.items():
        assert lack not in kind.capabilities
        assert len(why.reason) > 10
        assert why.instead
        assert "\n" not in f"{why.reason}{why.instead}"
        assert not why.reason.endswith(".")


@pytest.mark.parametrize("name", KINDS)
def test_no_kind_federates_by_itself(name):
    """Federation is missing from every kind: only a running server that was given a way to others has it."""
    assert Capability.FEDERATION in find_kind(name).missing


@pytest.mark.parametrize("name", KINDS)
def test_an_image_is_of_a_released_version(name):
    """A test that passed today passes tomorrow, so no kind has a moving tag."""
    _, _, tag = find_kind(name).image.rpartition(":")

    assert re.fullmatch(r"v\d+\.\d+\.\d+", tag)


@pytest.mark.parametrize("name", ["conduit", "tuwunel", "continuwuity", "dendrite"])
def test_settings_that_a_kind_cannot_carry_out_are_refused(name, tmp_path):
    """A test that wants rate limits or application services does not run without them."""
    choice = Choice(find_kind(name), Backend.CONTAINER, "")
    service = Appservice("echo", "echo", as_token="a", hs_token="h")

    with pytest.raises(CapabilityMissing, match=f"choosing rate limits is not available: {name} cannot do it: "):
        make_homeserver(choice, tmp_path, HomeserverSettings(rate_limits="default"))
    with pytest.raises(CapabilityMissing, match=f"application services is not available: {name} cannot do it: "):
        make_homeserver(choice, tmp_path, HomeserverSettings(appservices=(service,)))


def test_a_kind_that_nobody_has_tried_says_so(third, monkeypatch):
    """The choice of an untried kind says so, and no other choice does."""
    monkeypatch.setattr("greenroom.homeserver.choose._image_for", lambda kind, may_pull: kind.image)

    assert choose("dendrite", "auto").why.endswith(
        "dendrite-monolith:v0.15.2 are here, and nobody has tried this kind yet"
    )
    assert choose("third", "container").why == "asked for, image third:1"


def test_an_unknown_kind_is_refused_with_the_list_of_kinds(third):
    """The error for an unknown kind lists the kinds of the table."""
    with pytest.raises(
        Misuse, match="no such homeserver: 'thrid'; there are synapse, conduit, tuwunel, continuwuity, dendrite, third"
    ):
        find_kind("thrid")


def test_a_kind_without_a_process_is_refused_on_that_backend(third):
    """A kind that has no process is refused on the process backend."""
    with pytest.raises(Unavailable, match="third as a process is not available: third runs in a container only"):
        choose("third", "process")


def test_a_third_kind_has_its_image_its_variable_and_its_cure(third):
    """Image, environment variable and cure of a kind come from its description."""
    kind = find_kind("third")

    assert candidates(kind, {}).names == ("third:1",)
    assert candidates(kind, {"GREENROOM_THIRD_IMAGE": "mine"}).names == ("mine",)
    assert (
        cure(kind, {}) == "docker pull third:1 where a registry answers, or name another image in GREENROOM_THIRD_IMAGE"
    )


def test_doctor_lists_the_image_of_every_kind(third, monkeypatch):
    """A new line in the table of kinds is a new line of `doctor`, with the missing image and the fix."""
    monkeypatch.setattr(doctor, "_engine", lambda engine: iter(()))
    monkeypatch.setattr(doctor, "find_image", lambda engine, kind: None)
    engine = Engine(SimpleNamespace(close=lambda: None), "", "")

    found = list(doctor.containers(connect=lambda: engine))

    assert [finding.what for finding in found] == [
        "synapse image",
        "conduit image",
        "tuwunel image, untried",
        "continuwuity image, untried",
        "dendrite image, untried",
        "third image",
    ]
    assert found[-1].seen == "no third:1 (GREENROOM_THIRD_IMAGE)"
    assert found[-1].fix == cure(THIRD, {})


def test_a_choice_becomes_a_homeserver_of_its_kind(third, tmp_path, monkeypatch):
    """One class runs every kind in a container, by the kind's description."""
    monkeypatch.setattr("greenroom.homeserver.choose._image_for", lambda kind, may_pull: kind.image)

    choice = choose("third", "auto")
    homeserver = make_homeserver(choice, tmp_path, HomeserverSettings())

    assert (choice.backend, choice.why) == (Backend.CONTAINER, "an engine and the image third:1 are here")
    assert isinstance(homeserver, ContainerHomeserver)
    assert homeserver.kind.name == "third"
