"""``loraloop improve`` trains a skill on what its own runs got right and wrong."""

from __future__ import annotations

from loraloop.cli.options import AsJson
from loraloop.improve.order import ImproveOrder
from loraloop.render.console import console, print_json


def improve(order: ImproveOrder, as_json: AsJson = False) -> None:
    """Run an assistant, correct where it first went wrong, train its skill on that, and keep what is better.

    A round runs requests of worlds, trains from the current skill with a replay of old records, and measures the new
    one on held-out requests and old records. It is kept if it is better there and worse nowhere. One that was killed
    goes on when the same command is given again. The worlds' `tools.py` are run.
    """
    from loraloop.improve.loop import improve as improved
    from loraloop.render.training import Watch

    report = improved(order, observer=Watch(quiet=as_json))
    if as_json:
        print_json(report.to_dict())
        return
    console().print(report.table(), soft_wrap=True)
    console().print(f"held out: {report.before:.1%} → {report.after:.1%}; report: {order.out / 'report.md'}")
