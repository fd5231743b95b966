"""The tasks of this checkout. `python3 tasks.py NAME` installs what is missing first; `invoke NAME` is the same later.

As a script this file needs only the standard library. An old Python can read it and prints one clear line, so the part
above `if __name__` uses no syntax that Python 2.7 or 3.4 lacks.
"""

# For old Pythons: no f-strings, no unpacking in lists, and IOError beside OSError.
# ruff: noqa: UP024, UP031, RUF005

import glob
import hashlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

NEEDED = (3, 11)
HERE = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(HERE, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, ".greenroom-stamp")
PINS = ("pyproject.toml", "constraints.txt")
QUIET_S = 15  # without a terminal, a step is told at most so often


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
    progress = Progress()
    if os.path.exists(STAMP):
        os.remove(STAMP)
    if not os.access(PYTHON, os.X_OK) or not same_python():
        progress.phase("making .venv with Python %d.%d.%d" % sys.version_info[:3])
        shutil.rmtree(VENV, ignore_errors=True)
        make_venv()
    install(progress)
    progress.phase("everything is in .venv")
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


def install(progress):
    """Install the project into .venv and tell what pip does, or fail. Messages of pip about trouble go to stderr."""
    with open(os.path.join(HERE, "constraints.txt")) as pins:
        total = sum("==" in pin for pin in pins)
    progress.phase("downloading %d packages (the whole set-up takes about a minute the first time)" % total)
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    collected, installing, step = 0, False, "asking for the project's own needs"
    child = start([PYTHON, "-m", "pip", "install"] + options + ["-c", "constraints.txt", "-e", ".[embedded,stage,dev]"])
    try:
        for line in lines_of(child.stdout):
            if line.startswith("Collecting "):
                collected += 1
                name = re.split("[^A-Za-z0-9._-]", line[len("Collecting ") :])[0]
                step = "downloading %d of %d: %s" % (collected, total, name)
            elif line.startswith("Building wheel for ") and line.endswith("started"):
                step = "building %s" % line.split()[3]
            elif line.startswith("Installing collected packages:"):
                installing, total = True, line.count(",") + 1
                progress.phase("installing %d packages" % total)
            if installing:
                step = "installed %d of %d" % (min(installed(), total), total)
            progress.step(step)
        code = child.wait()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C changes nothing
        child.terminate()
        child.wait()
        interrupted()
    finally:
        child.stdout.close()
    if code != 0:
        progress.end()
        fail("installation failed; the message of pip is above. Check that a package index is reachable, and try again")


def installed():
    """Return how many packages are in .venv."""
    return len(glob.glob(os.path.join(VENV, "lib", "python*", "site-packages", "*.dist-info")))


def lines_of(stream):
    """Yield the lines of a pipe as they come, and an empty one after each second without any."""
    rest = b""
    while True:
        if not select.select([stream], [], [], 1.0)[0]:
            yield ""
            continue
        chunk = os.read(stream.fileno(), 65536)
        if not chunk:
            return
        lines = (rest + chunk).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield line.decode("utf-8", "replace").strip()


def run(command, otherwise):
    """Run a command. If it fails, print `otherwise` and exit."""
    try:
        code = subprocess.call(command, env=environment(), cwd=HERE)
    except KeyboardInterrupt:
        interrupted()
    if code != 0:
        fail(otherwise)


def start(command):
    """Start a command whose stdout is read here."""
    return subprocess.Popen(command, env=environment(), cwd=HERE, stdout=subprocess.PIPE)


def environment():
    """Return the environment of what is run here."""
    variables = dict(os.environ)
    # Without bytecode every start of the homeserver takes three times as long.
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


class Progress:
    """Tells on stderr what the set-up does, with the seconds since it began."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.began = self.told = time.time()

    def phase(self, text):
        """Print a line that stays."""
        self.end()
        say(self.timed(text))
        self.told = time.time()

    def step(self, text):
        """Show what is done now: on a terminal in the place of the last step, elsewhere a line now and then."""
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            # The cursor returns to the left, so that a message of pip begins there.
            sys.stderr.write("\x1b[K" + ("tasks.py: " + self.timed(text))[:width] + "\r")
            sys.stderr.flush()
        elif time.time() - self.told >= QUIET_S:
            self.phase(text)

    def end(self):
        """Remove the step from a terminal."""
        if self.terminal:
            sys.stderr.write("\x1b[K")

    def timed(self, text):
        """Return the text behind the seconds since the beginning."""
        return "%3d s  %s" % (time.time() - self.began, text)


def say(line):
    """Print a line to stderr: stdout belongs to the task."""
    sys.stderr.write("tasks.py: " + line + "\n")
    sys.stderr.flush()


def interrupted():
    """Say so and exit."""
    fail("interrupted; run this again to continue")


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
