"""Writes what the results say into README and pages, between their marks, so that no figure there is typed by hand."""

import re
from pathlib import Path

from benchmarks import tables
from benchmarks.tables import bars_table

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))
TABLES = {
    "demo": tables.demo_table, "peers": tables.peers_table, "speeds": tables.speeds_table,
    "tinybert": tables.tinybert_table, "modes": tables.modes_table, "brings": tables.brings_table,
    "quantized": tables.quantized_table, "pruned": tables.pruned_table, "sparsity": tables.sparsity_table,
    "order": tables.order_table, "total": tables.total_table, "rounding": tables.rounding_table,
    "left": tables.left_table,
}  # fmt: skip
BARS = {"measured": "main"}  # other marks are what the names of results begin with
MARKED = re.compile(r"<!-- ([a-z-]+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def quoted(page: Path) -> str:
    """A page with each marked part made anew from the results: by its name, or the bars of the results that begin with
    it."""
    results = "benchmarks/results" if page == README else "../benchmarks/results"

    def made(found: re.Match[str]) -> str:
        name = found[1]
        content = TABLES[name]() if name in TABLES else bars_table(BARS.get(name, name), results)
        return f"<!-- {name} -->\n{content}\n<!-- /{name} -->"

    return MARKED.sub(made, page.read_text())


def main() -> None:
    for page in PAGES:
        page.write_text(quoted(page))


if __name__ == "__main__":
    main()
