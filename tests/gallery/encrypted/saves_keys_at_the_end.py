"""The bot works on a copy of its keys and saves the copy when it ends. After SIGKILL there is no copy."""

import asyncio
import shutil
import tempfile
from pathlib import Path

import good_encrypted
from good_encrypted import Bot, good

CAUGHT_BY = "keys-after-kill"
SAYS = "the bot came back as a new device"

SAVED = good_encrypted.KEYS
good_encrypted.KEYS = Path(tempfile.mkdtemp())


class LateBot(Bot):
    async def run(self):
        shutil.copytree(SAVED, good_encrypted.KEYS, dirs_exist_ok=True) if SAVED.exists() else None
        try:
            await super().run()
        finally:
            shutil.copytree(good_encrypted.KEYS, SAVED, dirs_exist_ok=True)


if __name__ == "__main__":
    try:
        asyncio.run(good.main(LateBot))
    finally:
        shutil.rmtree(good_encrypted.KEYS)
