"""Numbers between bounds as regular expressions."""

from __future__ import annotations


def integers(low: int | None, high: int | None) -> str | None:
    """The integers from `low` to `high` (both included; None: without end), or None if there are none."""
    if low is not None and high is not None and low > high:
        return None
    parts = []
    if low is None or low < 0:
        negative = _natural(1 if high is None or high >= 0 else -high, None if low is None else -low)
        parts.append(f"-{negative}")
    if high is None or high >= 0:
        parts.append(_natural(max(low or 0, 0), high))
    return f"(?:{'|'.join(parts)})"


def decimals(low: int, high: int, above: bool = False, below: bool = False) -> str | None:
    """The numbers from `low` to `high`, without exponents; None if there are none.

    Args:
        above: Without `low` itself.
        below: Without `high` itself.
    """
    if low > high or (low == high and (above or below)):
        return None
    parts = []
    if high > 0:
        parts.append(_positive(max(low, 0), high, above and low >= 0, below))
    if low < 0:
        parts.append("-" + _positive(max(-high, 0), -low, below and high <= 0, above))
    if low <= 0 <= high and not (above and low == 0) and not (below and high == 0):
        parts.append("0")
    return f"(?:{'|'.join(parts)})"


def _positive(low: int, high: int, above: bool, below: bool) -> str:
    """The numbers from `low` to `high`, where 0 <= low <= high and 0 < high."""
    near = max(15 - len(str(high)), 1)  # digits after the point with which a double is not rounded to the bound
    parts = []
    first, last = low, high - 1
    if above:
        parts.append(rf"{low}\.(?:{_nonzero(near)})")
        first = low + 1
    if below and first <= last:
        parts.append(rf"{last}(?:\.[0-9]{{1,{near}}})?")
        last -= 1
    if first <= last:
        parts.append(rf"{_natural(first, last)}(?:\.[0-9]{{1,15}})?")
    if not below:
        parts.append(rf"{high}(?:\.0{{1,15}})?")
    return f"(?:{'|'.join(parts)})"


def _nonzero(digits: int) -> str:
    """A fraction of so many digits at most that is not zero."""
    return "|".join(f"0{{{zeros}}}[1-9][0-9]{{0,{digits - zeros - 1}}}" for zeros in range(digits))


def _natural(low: int, high: int | None) -> str:
    """The integers from `low` to `high`, where 0 <= low."""
    if high is None:
        size = len(str(low))
        parts = [_natural(low, 10**size - 1), rf"[1-9][0-9]{{{size},}}"]
        return f"(?:{'|'.join(parts)})"
    parts, first, last = [], len(str(low)), len(str(high))
    for size in range(first, last + 1):
        least, most = max(low, 0 if size == 1 else 10 ** (size - 1)), min(high, 10**size - 1)
        whole = size > 1 and least == 10 ** (size - 1) and most == 10**size - 1
        if whole and parts and parts[-1].startswith("[1-9][0-9]{"):
            parts[-1] = parts[-1].split(",")[0] + f",{size - 1}}}"
        else:
            parts.append(f"[1-9][0-9]{{{size - 1},{size - 1}}}" if whole else _between(str(least), str(most)))
    return f"(?:{'|'.join(parts)})"


def _between(low: str, high: str) -> str:
    """The digit strings between two of the same length."""
    if not low:
        return ""
    if low[0] == high[0]:
        return low[0] + _between(low[1:], high[1:])
    rest = len(low) - 1
    first, last = int(low[0]), int(high[0])
    parts, tail = [], []
    if low[1:] != "0" * rest:
        parts.append(low[0] + _between(low[1:], "9" * rest))
        first += 1
    if high[1:] != "9" * rest:
        tail.append(high[0] + _between("0" * rest, high[1:]))
        last -= 1
    if first <= last:
        parts.append(f"[{first}-{last}]" + (f"[0-9]{{{rest}}}" if rest else ""))
    return f"(?:{'|'.join([*parts, *tail])})"
