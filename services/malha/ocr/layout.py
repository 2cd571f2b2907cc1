"""Lines in the order they are read: rows into columns, columns into blocks.

A page is cut from the top into bands of rows. Where an empty lane runs down through several rows with text on both sides of it, these rows are
columns, read one after the other and each cut again in the same way (the recursive X-Y cut of Nagy and Seth, 1984, with lanes looked for before
gaps between rows: columns whose lines stand level have such gaps too). Labels beside their values, and tables of short cells, have lanes as well
but are read row by row: a column is text only where its lines are long.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from malha.ocr.engine import Line

LANE_HEIGHTS: Final = 0.8
"""Width of a lane between columns, in heights of a line."""
COLUMN_HEIGHTS: Final = 8.0
"""Mean length of a column's lines, in heights of a line: some sixteen letters."""
COLUMN_LINES: Final = 2
BLOCK_GAP_HEIGHTS: Final = 0.9
"""Between the lines of a paragraph there is less."""
FOOT_GAP_HEIGHTS: Final = 2.0
MOST_ROWS: Final = 400
"""On pages of more, columns that do not run down all the page are not looked for: that takes time by the square of them."""
MOST_DEPTH: Final = 8

Interval = tuple[float, float]
Block = list[Line]


@dataclass(slots=True)
class _Row:
    """Lines that stand beside each other, from the left."""

    lines: list[Line]
    top: float
    bottom: float


def arrange(lines: Iterable[Line]) -> list[Block]:
    """Blocks in reading order, each with its lines in reading order."""
    told = [line for line in lines if line.text.strip()]
    if not told:
        return []
    height = max(1.0, median(line.box.height for line in told))
    return list(_blocks(told, height, MOST_DEPTH))


def _blocks(lines: Sequence[Line], height: float, depth: int) -> Iterator[Block]:
    rows = _rows(lines)
    plain: list[_Row] = []
    place = 0
    while place < len(rows):
        end, columns = _columns(rows, place, height) if depth else (place + 1, [])
        if len(columns) > 1:
            yield from _paragraphs(plain, height)
            plain = []
            for column in columns:
                yield from _blocks(column, height, depth - 1)
            place = end
        else:
            plain.append(rows[place])
            place += 1
    yield from _paragraphs(plain, height)


def _rows(lines: Sequence[Line]) -> list[_Row]:
    """From the top; a line is of a row if its middle lies within the row's first line and the other way round."""
    rows: list[_Row] = []
    for line in sorted(lines, key=lambda line: line.box.middle):
        first = rows[-1].lines[0].box if rows else None
        if first is not None and first.top < line.box.middle < first.bottom and line.box.top < first.middle < line.box.bottom:
            row = rows[-1]
            row.lines.append(line)
            row.top, row.bottom = min(row.top, line.box.top), max(row.bottom, line.box.bottom)
        else:
            rows.append(_Row([line], line.box.top, line.box.bottom))
    for row in rows:
        row.lines.sort(key=lambda line: line.box.left)
    return rows


def _columns(rows: Sequence[_Row], start: int, height: float) -> tuple[int, list[list[Line]]]:
    """The longest band of rows from ``start`` on that a lane runs through: where it ends, and its columns; one column or none: it is no such band."""
    if start > 0 and len(rows) > MOST_ROWS:
        return start + 1, []
    lanes: list[Interval] = []
    end = start
    for end in range(start, len(rows)):
        wider = _merged([*lanes, *((line.box.left, line.box.right) for line in rows[end].lines)], LANE_HEIGHTS * height)
        if len(wider) == 1 and len(lanes) > 1:
            break
        lanes = wider
    else:
        end = len(rows)
    end = _without_foot(rows, start, end, height)
    lines = [line for row in rows[start:end] for line in row.lines]
    return end, _texts(lines, lanes, height)


def _without_foot(rows: Sequence[_Row], start: int, end: int, height: float) -> int:
    """Where a band ends if lines that stand alone, well below it, are no part of it: the foot of the page."""
    for place in range(end - 1, start, -1):
        if len(rows[place].lines) > 1:
            break
        if rows[place].top - rows[place - 1].bottom > FOOT_GAP_HEIGHTS * height:
            end = place
    return end


def _merged(intervals: Iterable[Interval], gap: float) -> list[Interval]:
    """Intervals that are less than a gap apart, joined."""
    merged: list[Interval] = []
    for left, right in sorted(intervals):
        if merged and left < merged[-1][1] + gap:
            merged[-1] = merged[-1][0], max(merged[-1][1], right)
        else:
            merged.append((left, right))
    return merged


def _texts(lines: Sequence[Line], lanes: Sequence[Interval], height: float) -> list[list[Line]]:
    """The lines of each lane; one that is no column of text (labels, a note in the margin) goes with the one before it, the first with the next."""
    columns: list[list[Line]] = []
    label: list[Line] = []
    for left, right in lanes:
        column = [*label, *(line for line in lines if left <= line.box.left < right or (line.box.left == right == left))]
        label = []
        if _is_text(column, height):
            columns.append(column)
        elif columns:
            columns[-1] += column
        else:
            label = column
    return [*columns, label] if label else columns


def _is_text(lines: Sequence[Line], height: float) -> bool:
    return len(lines) >= COLUMN_LINES and sum(line.box.width for line in lines) >= COLUMN_HEIGHTS * height * len(lines)


def _paragraphs(rows: Sequence[_Row], height: float) -> Iterator[Block]:
    block: Block = []
    bottom = 0.0
    for row in rows:
        if block and row.top - bottom > BLOCK_GAP_HEIGHTS * height:
            yield block
            block = []
        block += row.lines
        bottom = row.bottom
    if block:
        yield block
