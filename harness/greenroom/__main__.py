"""`python -m greenroom` is `greenroom`."""

from greenroom.commands.cli import main

if __name__ == "__main__":
    main()
