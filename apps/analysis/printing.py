"""Verdicts on the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from integrand.core.analysis import Finding

COLOURS = {"sound": "green", "doubtful": "yellow", "flawed": "red", "told": "dim"}


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a line or more for each instrument: its name, its verdict, what it says."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in ("instrument", "verdict", "what it says"):
        table.add_column(head)
    for one in findings:
        table.add_row(one.instrument, f"[{COLOURS[one.verdict]}]{one.verdict}[/]", one.statement)
    Console(highlight=False).print(table)
