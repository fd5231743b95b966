"""The report of a run in a real browser: what one sees, filters and clicks, and how long 2,000 events take."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from greenroom.evidence.bundle import write_bundle
from greenroom.evidence.record import LogSource, Record
from greenroom.faults.transcript import Entry, Transcript
from greenroom.people.seen import Seen, SeenEvent

EVENTS = 2000
BEGAN = time.time() - EVENTS
SEND = "/_matrix/client/v3/rooms/!r/send/m.room.message"
WITHIN_MS = 1000


@pytest.fixture
def report(tmp_path) -> Path:
    """The report of a failure with 2,000 requests, log lines and messages; request 1,500 was refused."""
    transcript, seen = Transcript(), Seen("@alice:x")
    lines = []
    for n in range(EVENTS // 4):
        at = BEGAN + 4 * n
        refused = n == 375
        seen.timeline.append(
            SeenEvent("!r", f"$q{n}", "m.room.message", "@alice:x", {"body": f"question {n}"}, None, False, at=at)
        )
        transcript.begin(Entry(at + 1, "GET", "/_matrix/client/v3/sync", "", "@bot:x", "", 200, True, 200, 0.01))
        status = 403 if refused else 200
        body = f'{{"body": "answer {n}"}}'
        answer = '{"errcode": "M_FORBIDDEN"}' if refused else ""
        transcript.begin(
            Entry(at + 2, "PUT", f"{SEND}/t{n}", "", "@bot:x", body, status, True, status, 0.01, answered=answer)
        )
        lines.append(f'{{"event": "answered_{n}", "timestamp": {at + 3}, "level": "info"}}')
    (tmp_path / "bot.log").write_text("\n".join(lines) + "\n")
    record = Record("test_x.py::test_it", BEGAN, transcripts=[transcript], seen=[seen])
    record.logs.append(LogSource("bot", tmp_path / "bot.log"))
    return write_bundle(tmp_path / "failures", record, "call failed\n\nE   no answer came", again="pytest x")


async def opened(page: Page, bundle: Path) -> Page:
    """Open the report of a bundle. It asks nobody for anything."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto((bundle / "report.html").as_uri())
    assert asked == [(bundle / "report.html").as_uri()]
    return page


async def test_2000_events_open_and_filter_within_a_second(page, report, screenshot):
    """From the click on the file to all rows on the page, and from a key in the filter to the rows that fit."""
    await opened(page, report)

    await expect(page.locator("#count")).to_have_text("1502 of 2002 rows")  # without 500 polls that brought nothing
    took = await page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    filtered = await page.evaluate(
        """() => { const box = document.getElementById("search"), began = performance.now();
        box.value = "answered_42"; box.dispatchEvent(new Event("input")); document.body.offsetHeight;
        return performance.now() - began; }"""
    )
    print(f"opened in {took:.0f} ms, filtered in {filtered:.0f} ms, {(report / 'report.html').stat().st_size} bytes")
    assert 0 < took < WITHIN_MS
    assert 0 < filtered < WITHIN_MS
    await expect(page.locator("#count")).to_have_text("13 of 2002 rows")  # 42, 420 to 429, both ends
    await screenshot(page)


async def test_filters_by_lane_trouble_and_polls(page, report):
    """What is left out is not drawn, and the count says so."""
    await opened(page, report)
    count = page.locator("#count")

    await page.get_by_label("alice").uncheck()
    await expect(count).to_have_text("1502 of 2002 rows")  # a message to the homeserver still has that lane
    await page.get_by_label("homeserver").uncheck()
    await expect(count).to_have_text("1002 of 2002 rows")
    await page.get_by_label("homeserver").check()
    await page.get_by_label("polls and upkeep (500)").check()
    await expect(count).to_have_text("2002 of 2002 rows")
    await page.get_by_label("trouble only").check()
    await expect(count).to_have_text("3 of 2002 rows")


async def test_the_keyboard_leads_to_the_failure_to_trouble_and_into_a_row(page, report, screenshot):
    """f, n, Enter and Esc; the whole request stands in the panel, secrets and all else as it was kept."""
    await opened(page, report)

    await page.keyboard.press("f")
    chosen = page.locator(".row.chosen")
    await expect(chosen).to_contain_text("no answer came")
    await expect(chosen).to_be_in_viewport()
    await page.keyboard.press("p")
    await expect(chosen).to_contain_text("→ 403, 10 ms")
    await expect(chosen.locator("em")).to_have_text("refused")
    await page.keyboard.press("Enter")
    panel = page.locator("#detail")
    await expect(panel).to_contain_text("M_FORBIDDEN")
    await expect(panel).to_contain_text('"body": "answer 375"')
    await screenshot(page)
    await page.keyboard.press("Escape")
    await expect(panel).to_be_hidden()
    await page.keyboard.press("/")
    await page.keyboard.type("answered_7 ")
    await expect(page.locator("#count")).to_have_text("13 of 2002 rows")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark_have_enough_contrast(page, report, scheme, screenshot):
    """Text and marks differ from their background by 4.5 to 1 (https://www.w3.org/TR/WCAG22/#contrast-minimum)."""
    await page.emulate_media(color_scheme=scheme)
    await opened(page, report)
    await page.keyboard.press("f")

    ratios = await page.evaluate((Path(__file__).parent / "contrast.js").read_text())

    await screenshot(page)
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}
    assert len(ratios) > 6
