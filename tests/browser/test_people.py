"""Being a person on the stage, in a real browser."""

from __future__ import annotations

import pytest
from playwright.async_api import Locator, Page, expect

from tests.browser.stage import staged  # noqa: F401 - a fixture

TAG = "<b>bold</b> <img src=x onerror=\"document.title='broken in'\">"
PATIENT_MS = 20_000


@pytest.fixture
def address(staged) -> str:  # noqa: F811
    """The address of the stage of a `dev` with the reference bot."""
    return staged.address


async def log_in(page: Page, name: str) -> Locator:
    """Log somebody in; return the column."""
    await page.get_by_test_id(f"log-in-{name}").click()
    column = page.get_by_test_id(f"person-{name}")
    await expect(column).to_be_visible(timeout=PATIENT_MS)
    return column


async def say(column: Locator, room: str, text: str) -> None:
    """Say something in the room that is chosen, or is just being chosen, with the keyboard."""
    field = column.get_by_label(f"say something in {room}", exact=True)
    await field.fill(text, timeout=PATIENT_MS)
    await field.press("Enter")


async def from_bot(column: Locator, text: str) -> Locator:
    """Wait for a message of the bot; return it."""
    message = column.locator("[data-testid=message][data-sender=bot]").filter(has_text=text).last
    await expect(message).to_be_visible(timeout=PATIENT_MS)
    return message


async def test_two_people_side_by_side_talk_with_the_bot(page: Page, address, screenshot):
    """Each sees their own rooms; an answer, a reaction, an edit and an invite show without a reload."""
    await page.goto(address)
    alice, carol = await log_in(page, "alice"), await log_in(page, "carol")
    await alice.get_by_test_id("room-First chat").click()
    await say(alice, "First chat", "helo")
    await from_bot(alice, "helo")

    mine = alice.locator("[data-testid=message].own").last
    await mine.get_by_test_id("more").click()
    await mine.get_by_test_id("do-edit").click()
    await expect(alice.get_by_label("say something in First chat")).to_have_value("helo")
    await say(alice, "First chat", "hello")
    await expect(mine).to_contain_text("edited", timeout=PATIENT_MS)
    answer = await from_bot(alice, "helo")
    await answer.get_by_test_id("more").click()
    await answer.get_by_test_id("do-👍").click()
    await expect(answer.get_by_test_id("reaction")).to_have_text("👍 1", timeout=PATIENT_MS)

    await carol.get_by_test_id("new-chat-carol").click()
    await page.get_by_test_id("dialog-ok").click()
    await from_bot(carol, "Hello!")
    await carol.get_by_test_id("accept-Chat 1").click(timeout=PATIENT_MS)
    await carol.get_by_label("say something in Chat 1").fill("not sent")
    await carol.get_by_test_id("room-chat with bot").click()
    await expect(carol.get_by_label("say something in chat with bot")).to_be_visible(timeout=PATIENT_MS)
    await expect(carol.get_by_label("say something in chat with bot")).to_have_value("")
    await carol.get_by_test_id("room-Chat 1").click()
    await expect(carol.get_by_label("say something in Chat 1")).to_be_visible(timeout=PATIENT_MS)
    await expect(carol.get_by_label("say something in Chat 1")).to_have_value("not sent")
    await say(carol, "Chat 1", "is it me?")
    await from_bot(carol, "is it me?")
    await screenshot(page, "two people")
    await expect(alice.get_by_test_id("text").filter(has_text="is it me?")).to_have_count(0)


async def test_what_somebody_says_stays_text(page: Page, address):
    """A tag in a message, and in the name of a room, is shown and not carried out."""
    await page.goto(address)
    alice = await log_in(page, "alice")
    await alice.get_by_test_id("new-room-alice").click()
    await page.get_by_test_id("dialog-name").fill(TAG)
    await page.get_by_test_id("dialog-ok").click()
    await say(alice, TAG, TAG)

    await expect(alice.get_by_test_id("text").last).to_have_text(TAG, timeout=PATIENT_MS)
    await expect(alice.locator(".stage-room[aria-current=true]")).to_contain_text(TAG)
    assert await page.locator(".stage-left img, .stage-left b").count() == 0
    assert await page.title() != "broken in"


async def test_an_encrypted_chat_says_so_in_words(page: Page, address):
    """The bot's answer was encrypted, and could be read."""
    await page.goto(address)
    carol = await log_in(page, "carol")
    await carol.get_by_test_id("new-chat-carol").click()
    await page.get_by_test_id("dialog-encrypted").click()
    await page.get_by_test_id("dialog-ok").click()

    answer = await from_bot(carol, "Hello!")

    await expect(answer.get_by_test_id("encryption")).to_have_text("encrypted")


async def test_a_refused_act_is_one_line(page: Page, address):
    """The homeserver's own words, and no traceback."""
    await page.goto(address)
    alice = await log_in(page, "alice")
    await alice.get_by_test_id("room-First chat").click()
    await alice.get_by_test_id("room-menu-alice").click()
    await page.get_by_test_id("room-kick").click()
    await page.get_by_test_id("dialog-who").fill("bot")
    await page.get_by_test_id("dialog-ok").click()

    told = page.locator(".q-notification").filter(has_text="403")
    await expect(told).to_contain_text("M_FORBIDDEN", timeout=PATIENT_MS)
    await expect(page.get_by_text("Traceback")).to_have_count(0)
