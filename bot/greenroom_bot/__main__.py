"""`python -m greenroom_bot`: run the bot, or check how far its records and the homeserver are apart."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog
from peewee import PeeweeException

from greenroom_bot.app import MatrixBot
from greenroom_bot.check import check
from greenroom_bot.config import Config, settings_table
from greenroom_bot.log import configure_logging
from greenroom_bot.matrix.cross_signing import sign_own_device
from greenroom_bot.matrix.encryption import unusable_keys
from greenroom_bot.matrix.errors import BotError, ConfigError, StoreError
from greenroom_bot.matrix.listening import until_listening
from greenroom_bot.matrix.retry import until_answered
from greenroom_bot.matrix.session import authenticate
from greenroom_bot.matrix.sync import LiveClient
from greenroom_bot.responder import load_responder
from greenroom_bot.rooms.chats import ChatManager
from greenroom_bot.rooms.store import SQLiteStore

log = structlog.get_logger()

EXIT_CODES = "exit codes: 0 stopped, 1 failed, 2 configuration, 3 could not tell (check), 4 credentials"
DEVICE_NAME = "Greenroom bot"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code. Every failure is one line on stderr."""
    args = _parser().parse_args(argv)
    try:
        config = Config.from_environ(os.environ)
        configure_logging(config.log_level)
        if args.command == "check":
            return asyncio.run(check(config, as_json=args.json))
        return _run_to_its_end(_until_signalled(_run(config)))
    except BotError as error:
        return _fail(error)
    except sqlite3.Error as error:
        return _fail(StoreError(f"the database {config.db_path} cannot be read or written: {error}"))
    except PeeweeException as error:
        return _fail(unusable_keys(config.store_path, error))
    except KeyboardInterrupt:
        return 0


async def _run(config: Config) -> None:
    """Start in the order that `MatrixBot` describes, and stay until stopped."""
    responder = load_responder(config.responder)
    store = SQLiteStore(config.db_path)
    client = LiveClient(config.homeserver, config.user_id, store_path=str(config.store_path))
    chat_mgr = ChatManager(client, store, instance=config.instance, encrypt=config.encrypt_rooms)
    bot = MatrixBot(client, store, chat_mgr, responder, config)
    try:
        _prepare_paths(config)
        log.info("signing_in", homeserver=config.homeserver, user_id=config.user_id)
        await until_listening(config.homeserver)
        bot.login = await until_answered(
            "homeserver",
            lambda: authenticate(
                client, config.credentials, known_device=store.meta("device_id"), device_name=DEVICE_NAME
            ),
        )
        session, ran_before = bot.login.session, bot.login.ran_before
        store.bind_account(session.user_id, session.device_id, ran_before=ran_before)
        log.info("logged_in", user_id=client.user_id, device_id=client.device_id, fresh=bot.login.fresh)
        if bot.login.keys_lost:
            log.warning(
                "encryption_keys_lost", lost="older encrypted messages stay unreadable", device_id=client.device_id
            )
        await until_answered("key upload", client.upload_keys)
        await sign_own_device(client, config.credentials)
        bot.register_callbacks()
        await bot.start()
        await bot.run()
    finally:
        await client.close()
        store.close()


def _run_to_its_end(work: Coroutine[Any, Any, int]) -> int:
    """Run the work to its end and return its exit code, whatever another task raises.

    A responder may start tasks of its own, and asyncio lets the SystemExit of any task out of the event loop. The loop
    is whole after that, so it goes on. (Ctrl-C never comes as KeyboardInterrupt here: `_until_signalled` takes it.)
    """
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        task = loop.create_task(work)
        while True:
            try:
                return loop.run_until_complete(task)
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done():
                    raise
                log.error("task_exited", seen=type(error).__name__, exc_info=error)


async def _until_signalled(work: Coroutine[Any, Any, None]) -> int:
    """Run until done, or until SIGTERM or SIGINT cancels the work.

    The bot then finishes what it has in hand; a second signal does not cut that short.
    """
    task = asyncio.ensure_future(work)

    def cancel_once() -> None:
        if not task.cancelling():
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, cancel_once)
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return 0


def _prepare_paths(config: Config) -> None:
    try:
        config.store_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not os.access(config.store_path, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable")
    except OSError as error:
        raise ConfigError(f"MATRIX_STORE_PATH {config.store_path} cannot be used: {error.strerror or error}") from error
    try:
        if config.health_file:  # a killed run may have left its file, and this run is not live yet
            config.health_file.touch()
            config.health_file.unlink()
    except OSError as error:
        raise ConfigError(
            f"MATRIX_HEALTH_FILE {config.health_file} cannot be used: {error.strerror or error}"
        ) from error


def _fail(error: BotError) -> int:
    print(f"bot: {error}", file=sys.stderr)
    return error.exit_code


def _parser() -> argparse.ArgumentParser:
    settings = "\n".join(f"  {name:<22}{meaning} (absent: {absent})" for name, meaning, absent in settings_table())
    parser = argparse.ArgumentParser(
        prog="python -m greenroom_bot",
        description="A Matrix bot that recovers its own state on a normal restart.",
        epilog=f"Settings come from the environment only:\n{settings}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="run|check")
    commands.add_parser("run", help="run the bot (the default)")
    checking = commands.add_parser(
        "check", help="compare records and homeserver, change nothing; exit 0 in step, 1 drift"
    )
    checking.add_argument("--json", action="store_true", help="print the report as one JSON object")
    return parser


if __name__ == "__main__":
    sys.exit(main())
