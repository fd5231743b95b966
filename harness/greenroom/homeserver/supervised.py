"""A running homeserver that is one supervised process of ours, here or in a container that it shares."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from greenroom.errors import Died, StartFailed
from greenroom.homeserver.interface import RunningHomeserver
from greenroom.processes.process import ManagedProcess


class SupervisedHomeserver(RunningHomeserver):
    """What follows from there being a process."""

    _process: ManagedProcess

    def check_alive(self) -> None:
        self._process.check_alive()

    def log_tail(self, lines: int = 15) -> list[str]:
        return self._process.tail(lines)

    async def stop(self) -> None:
        await self._process.stop()

    async def kill(self) -> None:
        await self._process.kill()

    async def pause(self) -> None:
        self._process.pause()

    async def resume(self) -> None:
        self._process.resume()

    @abstractmethod
    def _hint(self, log: str) -> str:
        """Return what to try after a start that failed with this log; empty if nothing is known to help."""

    @asynccontextmanager
    async def _starting(self, name: str) -> AsyncIterator[None]:
        """Turn the failure of a start into StartFailed, which calls the homeserver `name`; leave nothing running."""
        try:
            yield
        except Died as error:
            cure = self._hint(self._process.log_text())  # all of it: the cause of a traceback is above its end
            raise StartFailed(name, error.status, log_path=self.log_path, tail=error.tail, hint=cure) from None
        except TimeoutError as error:
            tail = self.log_tail()
            await self._process.kill()
            raise StartFailed(name, str(error), log_path=self.log_path, tail=tail) from None
        except BaseException:  # Ctrl-C or the caller's timeout
            self._process.kill_now()
            raise
