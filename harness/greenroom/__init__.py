"""A homeserver, people, a bot and faults for tests of Matrix bots: `from greenroom import must, never, checks, faults`.

Importing the package loads none of them: each is loaded when it is first used. The code here imports nothing at all,
because `python -m greenroom` runs it while the working directory is still on the path (see `__main__`).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greenroom import checks as checks
    from greenroom import faults as faults
    from greenroom import must as must
    from greenroom import never as never

__all__ = ["checks", "faults", "must", "never"]


def __getattr__(name: str) -> object:
    """Load a public module at its first use, as in `import greenroom; greenroom.must` (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    from importlib import import_module

    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """List the public modules too, loaded or not."""
    return sorted({*globals(), *__all__})
