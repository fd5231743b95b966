"""Good: says what it finds in a folder, also what came while it was down, and an alarm for each SIGUSR1."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from contextlib import suppress
from pathlib import Path

from good import Bot, main

SPOOL = Path(os.environ["SPOOL"])


class Spool(Bot):
    async def run(self) -> None:
        SPOOL.mkdir(exist_ok=True)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.alarm)
        looking = asyncio.ensure_future(self.look())
        try:
            await super().run()
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    def alarm(self) -> None:
        self.enter("alarm", uuid.uuid4().hex)

    async def look(self) -> None:
        while True:
            for file in sorted(SPOOL.glob("[!.]*")):
                self.enter(file.read_text(), file.name)  # the same name again is the same transaction id
                file.unlink()
            await asyncio.sleep(0.05)

    def enter(self, text: str, name: str) -> None:
        self.queue.append({"room": os.environ["BOT_ROOM"], "text": text, "id": name})
        self.save()
        self.news.set()


if __name__ == "__main__":
    asyncio.run(main(Spool))
