"""`python -m greenroom` is `greenroom`."""

import os
import sys

if __name__ == "__main__":
    # `python -m` looks for modules in the working directory first. A user may have a `docker.py` or `email.py` there.
    if sys.path[:1] == [os.getcwd()]:
        del sys.path[0]
    from greenroom.commands.cli import main

    main()
