"""`python -m harness` is `greenroom`."""

from harness.cli import main

if __name__ == "__main__":
    main()
