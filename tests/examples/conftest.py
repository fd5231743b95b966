"""The examples of the guides. The tests here copy each of them to an empty folder, and run it there."""

from pathlib import Path

collect_ignore = [str(folder) for folder in Path(__file__).parent.iterdir() if folder.is_dir()]
