from __future__ import annotations

from loraloop.kernels.rows import RowSlots, tile_rows


def test_tables_of_segments() -> None:
    rows = RowSlots.of(((0, 2, 0), (2, 3, 2), (3, 5, 1)))
    assert rows.slots.tolist() == [-1, -1, 2, 1, 1]
    assert rows.tiles.tolist() == [0]


def test_slots_that_lie_elsewhere_contribute_nothing() -> None:
    rows = RowSlots.of(((0, 1, 5), (1, 2, 4), (2, 3, 0)), index={5: 0})
    assert rows.slots.tolist() == [0, -1, -1] and rows.tiles.tolist() == [0]


def test_the_grid_holds_active_tiles_only() -> None:
    assert RowSlots.of(((0, 3, 0), (3, 4, 0))).tiles.tolist() == []
    assert RowSlots.of(()).slots.shape == (0,)
    assert tile_rows(300) == 64
    rows = RowSlots.of(((0, 130, 0), (130, 135, 2), (135, 300, 0)))
    assert rows.tiles.tolist() == [2]
    assert RowSlots.of(((0, 250, 0), (250, 300, 1))).tiles.tolist() == [3, 4]
    assert RowSlots.all_tiles(rows.slots).tiles.tolist() == [0, 1, 2, 3, 4]


def test_a_tile_depends_on_the_shape_alone() -> None:
    assert [tile_rows(count) for count in (1, 2, 64, 65)] == [1, 16, 16, 64]
