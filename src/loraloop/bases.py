"""``loraloop bases``: the catalog, and what of it is on this machine."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table


def base_rows() -> list[dict[str, Any]]:
    """Each base of the catalog as a dictionary: what it is, whether its file is here, and the converted forms."""
    from loraloop.adapters.base.loading.catalog import CATALOG
    from loraloop.adapters.base.loading.convert import cache_root
    from loraloop.adapters.base.loading.fetch import location

    root = cache_root()
    rows = []
    for entry in CATALOG.values():
        stem = f"{entry.name}-{entry.sha256[:12]}-"
        made = [path.parent.name for path in root.glob(f"bases/{stem}*/base.json")]
        rows.append(
            {
                "name": entry.name,
                "description": entry.description,
                "licence": entry.licence,
                "bytes": entry.size,
                "sha256": entry.sha256,
                "hub": "/".join(entry.hub) if entry.hub else None,
                "packages": [f"{member.package}=={member.version}" for member in entry.members],
                "note": entry.note,
                "fetched": location(entry, root).exists(),
                "converted": sorted({name.removeprefix(stem).split("-")[0] for name in made}),
            }
        )
    return rows


def bases_table(rows: list[dict[str, Any]]) -> Table:
    """The same for a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("base", "what it is", "licence", "GB", "here"):
        wide = heading == "what it is"
        table.add_column(heading, justify="right" if heading == "GB" else "left", min_width=30 if wide else None)
    for row in rows:
        here = ", ".join(row["converted"]) or ("fetched" if row["fetched"] else "no")
        table.add_row(row["name"], row["description"], row["licence"], f"{row['bytes'] / 1e9:.1f}", here)
    return table
