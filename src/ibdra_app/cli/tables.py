"""Tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


def print_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows in columns; a narrow terminal wraps the lines, no value is cut short."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, no_wrap=True)
    count = 0
    for row in rows:
        table.add_row(*row)
        count += 1
    if count:
        console = Console(highlight=False, soft_wrap=True)
        width = max(console.measure(table).maximum, console.width)
        console.print(table, width=width, soft_wrap=True)
