"""Draw a screen as an SVG picture in which the lines appear one after another."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.terminal_theme import SVG_EXPORT_THEME
from rich.text import Text

NAME = "greenroom"
STEP_S = 0.12  # between two lines; the picture says nothing about real durations
TITLE = "Greenroom"
# As rich's own template, with fonts of the reader's machine: an SVG in a README cannot load others. The text can be
# selected, and a reader who wants no motion sees the last frame at once.
TEMPLATE = """<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
    <style>
    .{unique_id}-matrix {{
        font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
        font-size: {char_height}px;
        line-height: {line_height}px;
        font-variant-east-asian: full-width;
    }}
    .{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
    {styles}
    @media (prefers-reduced-motion: no-preference) {{
        .{unique_id}-matrix text {{ animation: appear 0.01s both; }}
    }}
    @keyframes appear {{ from {{ opacity: 0; }} to {{ opacity: 1; }} }}
    /*delays*/
    </style>
    <defs>
    <clipPath id="{unique_id}-clip-terminal">
      <rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
    </clipPath>
    {lines}
    </defs>
    {chrome}
    <g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
    {backgrounds}
    <g class="{unique_id}-matrix">
    {matrix}
    </g>
    </g>
</svg>
"""
COLUMN = 12.2  # rich's width of a character
TEXT = re.compile(r'<text class="([^"]*)"([^>]*line-(\d+)\)")>([^<]*)</text>')


def drawn(lines: Sequence[Text], columns: int) -> str:
    """Return the picture of these lines."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in lines:
        console.print(line, soft_wrap=True)
    console.print()  # rich cuts the last line off at its lower edge
    svg = console.export_svg(title=TITLE, theme=SVG_EXPORT_THEME, code_format=TEMPLATE, unique_id=NAME)
    svg = TEXT.sub(_with_its_row, svg)
    delays = "\n    ".join(
        f".{NAME}-matrix .l{row} {{ animation-delay: {row * STEP_S:.2f}s; }}" for row in range(len(lines))
    )
    svg = svg.replace("/*delays*/", delays).replace("</text><text", "</text>\n    <text")
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def _with_its_row(found: re.Match[str]) -> str:
    """Give a piece of text the class of its row. rich also draws the line ends, which nobody sees: leave them out."""
    style, attributes, row, text = found.groups()
    return f'<text class="{style} l{row}"{attributes}>{text}</text>' if text.strip() else ""


def text_of(svg: str) -> list[str]:
    """Return the lines of a picture as plain text."""
    rows: dict[int, str] = {}
    root = ElementTree.fromstring(svg)  # noqa: S314 - our own file
    for piece in root.iter("{http://www.w3.org/2000/svg}text"):
        if row := re.search(r" l(\d+)$", piece.get("class", "")):
            number, column = int(row[1]), round(float(piece.get("x", "0")) / COLUMN)
            rows[number] = rows.get(number, "").ljust(column) + (piece.text or "").replace("\xa0", " ")
    return [rows.get(number, "").rstrip() for number in range(max(rows, default=-1) + 1)]
