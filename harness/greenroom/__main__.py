"""`python -m greenroom` is `greenroom`."""

import os
import sys

if __name__ == "__main__":
    # `python -m` looks for modules in the working directory first. A user's `docker.py` or `email.py` there is not ours.
    if sys.path[:1] == [os.getcwd()]:
        del sys.path[0]
    from greenroom.commands.cli import main

    main()
