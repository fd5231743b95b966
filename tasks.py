"""The tasks of this checkout. `python3 tasks.py NAME` installs what is missing first; `invoke NAME` is the same later.

As a script this file needs only the standard library. An old Python can read it and prints one clear line, so the part
above `if __name__` uses no syntax that Python 2.7 or 3.4 lacks.
"""

# For old Pythons: no f-strings, no unpacking in lists, and IOError beside OSError.
# ruff: noqa: UP024, UP031, RUF005

import hashlib
import os
import shutil
import signal
import subprocess
import sys

NEEDED = (3, 11)
HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".greenroom-stamp")
PINS = ("pyproject.toml", "constraints.txt")


def fingerprint():
    """Return a string that changes with the pins and with this Python."""
    digest = hashlib.sha256(repr(sys.version_info[:3]).encode())
    for name in PINS:
        with open(os.path.join(HERE, name), "rb") as pins:
            digest.update(pins.read())
    return digest.hexdigest()


def is_set_up():
    """Return whether .venv was completed for exactly these pins and this Python."""
    try:
        with open(STAMP) as stamp:
            return stamp.read() == fingerprint() and os.access(PYTHON, os.X_OK)
    except (IOError, OSError):
        return False


def set_up():
    """Make .venv and install the project into it. Write the stamp last, so that an interrupted set-up is repeated."""
    if os.path.exists(STAMP):
        os.remove(STAMP)
    if not os.access(PYTHON, os.X_OK) or not same_python():
        say("making .venv with Python %d.%d.%d" % sys.version_info[:3])
        shutil.rmtree(VENV, ignore_errors=True)
        make_venv()
    say("installing the project and its pinned dependencies into .venv (about a minute the first time)")
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    run(
        [PYTHON, "-m", "pip", "install"] + options + ["-c", "constraints.txt", "-e", ".[embedded,dev]"],
        "installation failed; the message of pip is above. Check that a package index is reachable and run this again",
    )
    with open(STAMP + ".new", "w") as stamp:
        stamp.write(fingerprint())
    os.rename(STAMP + ".new", STAMP)


def same_python():
    """Return whether .venv was made with this Python."""
    ask = [PYTHON, "-c", "import sys; print(tuple(sys.version_info[:3]))"]
    try:
        return subprocess.check_output(ask).decode().strip() == repr(tuple(sys.version_info[:3]))
    except (OSError, subprocess.CalledProcessError):
        return False


def make_venv():
    """Make .venv, or fail with what this Python lacks for it."""
    try:
        import ensurepip  # noqa: F401 - Debian splits it off
        import venv  # noqa: F401
    except ImportError:
        fail("this Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv")
    run([sys.executable, "-m", "venv", VENV], "making .venv failed; the reason is above")


def run(command, otherwise):
    """Run a command. If it fails, print `otherwise` and exit."""
    environment = dict(os.environ)
    # Without bytecode every start of the homeserver takes three times as long.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        code = subprocess.call(command, env=environment, cwd=HERE)
    except KeyboardInterrupt:
        fail("interrupted; run this again to continue")
    if code != 0:
        fail(otherwise)


def say(line):
    """Print a line to stderr: stdout belongs to the task."""
    sys.stderr.write("tasks.py: " + line + "\n")
    sys.stderr.flush()


def fail(line):
    """Print a line and exit with 1."""
    say(line)
    sys.exit(1)


def main():
    """Install what is missing, then replace this process by `invoke` in .venv with the same arguments."""
    if sys.version_info < NEEDED:
        found = ".".join(map(str, sys.version_info[:3]))
        fail("this is Python %s; Greenroom needs 3.11 or newer. Try: python3.11 tasks.py ..." % found)
    if not is_set_up():
        set_up()
    os.chdir(HERE)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the task takes a Ctrl-C when it is there to answer it
    os.execv(PYTHON, [PYTHON, "-m", "invoke"] + (sys.argv[1:] or ["--list"]))  # noqa: S606 - a list, never a shell


if __name__ == "__main__":
    main()
else:
    from greenroom.commands.tasks import namespace  # noqa: F401 - what invoke looks for
