import numpy as np
import pytest
from cellserve_preprocess import MARGIN, TILE, ParameterError, TileGrid


def framed(image):
    return np.pad(image, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN)))


def test_starts_are_those_of_the_published_rule():
    inner = TILE - 2 * MARGIN  # an image whose frame is one tile
    grid = TileGrid.cover((496, inner), overlap=0.1)
    assert grid.starts_y == (0, 144, 288)
    assert grid.starts_x == (0,)
    assert TileGrid.cover((496, 496), overlap=0.5).starts_y == (0, 72, 144, 216, 288)
    assert TileGrid.cover((inner + TILE, inner + 1), overlap=0) == TileGrid((432, 209), (0, 224), (0, 1))


@pytest.mark.parametrize(
    ("length", "zeros", "starts"),
    [
        (208, (8, 8), (0,)),
        (209, (15, 16), (0, 16)),
        (301, (9, 10), (0, 96)),
        (320, (8, 8), (0, 112)),
        (3, (14, 15), (0,)),
    ],
)
def test_cellpose_frames_an_image_to_a_multiple_of_16(length, zeros, starts):
    grid = TileGrid.cover((length, 304), margin="cellpose3")
    assert (grid.margins, grid.starts_y) == ((zeros, (8, 8)), starts)
    assert grid.frame[0] == max(TILE, length + sum(zeros))
    assert grid.sides == (min(TILE, length + sum(zeros)), TILE)
    assert TileGrid.cover((length, 9)).sides == TileGrid.cover((length, 9), 0, True, "cellpose3").sides == (TILE, TILE)
    image = np.random.default_rng(0).random((2, length, 304), dtype=np.float32)
    tiles = grid.cut(image, 0, len(grid))
    frame = np.pad(image, ((0, 0), zeros, (8, 8 + max(0, TILE - 320))))
    frame = np.pad(frame, ((0, 0), (0, max(0, TILE - frame.shape[1])), (0, 0)))
    for index, tile in enumerate(tiles):
        y, x = starts[index // len(grid.starts_x)], grid.starts_x[index % len(grid.starts_x)]
        np.testing.assert_array_equal(tile, frame[:, y : y + TILE, x : x + TILE])
    assert TileGrid.count((length, 304), margin="cellpose3") == len(grid)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize("overlap", [0, 0.1, 0.5])
@pytest.mark.parametrize("shape", [(1, 1), (208, 209), (224, 5000), (496, 1)])
def test_count_is_what_cover_lays(shape, overlap, augment):
    assert TileGrid.count(shape, overlap, augment) == len(TileGrid.cover(shape, overlap, augment))


def test_small_images_are_padded_with_zeros():
    image = np.ones((2, 100, 30), dtype=np.float32)
    grid = TileGrid.cover((100, 30))
    tiles = grid.cut(image, 0, 1)
    assert len(grid) == 1
    assert tiles.shape == (1, 2, TILE, TILE)
    assert (tiles[0, :, MARGIN : MARGIN + 100, MARGIN : MARGIN + 30] == 1).all()
    assert tiles.sum() == image.sum()


def test_tiles_come_row_by_row_in_any_slices():
    image = np.random.default_rng(0).random((2, 300, 500), dtype=np.float32)
    grid = TileGrid.cover((300, 500))
    tiles = grid.cut(image, 0, len(grid))
    assert tiles.dtype == np.float32
    assert tiles.flags.c_contiguous
    for index in range(len(grid)):
        y = grid.starts_y[index // len(grid.starts_x)]
        x = grid.starts_x[index % len(grid.starts_x)]
        np.testing.assert_array_equal(tiles[index], framed(image)[:, y : y + TILE, x : x + TILE])
    np.testing.assert_array_equal(np.concatenate([grid.cut(image, 0, 2), grid.cut(image, 2, len(grid))]), tiles)
    assert grid.cut(image, 1, 1).shape == (0, 2, TILE, TILE)


def test_augmentation_flips_by_turns_at_half_overlap():
    image = np.random.default_rng(0).random((2, 400, 400), dtype=np.float32)
    grid = TileGrid.cover((400, 400), overlap=0.1, augment=True)
    assert grid.starts_y == TileGrid.cover((400, 400), overlap=0.5).starts_y
    tiles = grid.cut(image, 0, len(grid))
    columns = len(grid.starts_x)
    for row in range(2):
        for column in range(2):
            y, x = grid.starts_y[row], grid.starts_x[column]
            tile = framed(image)[:, y : y + TILE, x : x + TILE]
            if column == 1:
                tile = tile[:, ::-1]
            if row == 1:
                tile = tile[:, :, ::-1]
            np.testing.assert_array_equal(tiles[row * columns + column], tile)


def test_augmentation_sees_small_images_in_all_four_orientations():
    image = np.random.default_rng(0).random((2, 50, 60), dtype=np.float32)
    grid = TileGrid.cover((50, 60), augment=True)
    tiles = grid.cut(image, 0, len(grid))
    assert len(grid) == 4
    np.testing.assert_array_equal(tiles[1], tiles[0, :, ::-1])
    np.testing.assert_array_equal(tiles[2], tiles[0, :, :, ::-1])
    np.testing.assert_array_equal(tiles[3], tiles[0, :, ::-1, ::-1])


def test_cutting_leaves_the_image_alone():
    image = np.ones((2, 300, 300), dtype=np.float32)
    image.flags.writeable = False
    TileGrid.cover((300, 300), augment=True).cut(image, 0, 4)[:] = 7
    assert (image == 1).all()


@pytest.mark.parametrize("overlap", [-0.01, 0.51, float("nan")])
def test_overlap_out_of_range_is_refused(overlap):
    with pytest.raises(ParameterError) as refused:
        TileGrid.cover((10, 10), overlap=overlap)
    assert refused.value.parameter == "tile_overlap"


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_images_without_pixels_are_refused(shape):
    with pytest.raises(ValueError, match="no pixels"):
        TileGrid.cover(shape)


def test_images_and_slices_that_do_not_fit_are_refused():
    grid = TileGrid.cover((300, 300))
    with pytest.raises(ValueError, match="shape"):
        grid.cut(np.zeros((2, 300, 301), dtype=np.float32), 0, 1)
    with pytest.raises(ValueError, match="tiles"):
        grid.cut(np.zeros((2, 300, 300), dtype=np.float32), 0, len(grid) + 1)


def test_a_part_has_the_tiles_the_extent_and_the_flips_of_its_place():
    grid = TileGrid.cover((600, 700), overlap=0.1, augment=True)
    part = grid.part(range(1, 3), range(2, 4))
    assert (len(part), len(grid)) == (4, len(grid.starts_y) * len(grid.starts_x))
    assert [part.position(index) for index in range(4)] == [(1, 2), (1, 3), (2, 2), (2, 3)]
    assert [part.flips(index) for index in range(4)] == [(False, True), (True, True), (False, False), (True, False)]
    rows, columns = part.extent
    assert (rows.start, columns.start) == part.corner(0) == (grid.starts_y[1] - MARGIN, grid.starts_x[2] - MARGIN)
    assert (rows.stop, columns.stop) == tuple(last + TILE for last in part.corner(3))
    assert grid.extent == (slice(0, 600), slice(0, 700))
    assert part.part(range(len(grid.starts_y)), range(len(grid.starts_x))) == grid


@pytest.mark.parametrize("rows", [range(0), range(-1, 1), range(2, 9), range(0, 3, 2)])
def test_parts_that_the_grid_lacks_are_refused(rows):
    with pytest.raises(ValueError, match="no part"):
        TileGrid.cover((600, 700)).part(rows, range(1))
