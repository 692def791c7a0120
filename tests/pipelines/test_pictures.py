"""Files of strangers: pixels, or the reason in one sentence."""

import io

import numpy as np
import PIL.Image
import pytest

from pipelines.pictures import read_picture
from stages.models.zoo.world import render
from tests.pipelines.damaged import DAMAGED, encoded, of_mode


def test_a_whole_picture_has_its_pixels():
    picture = read_picture(encoded(3))
    np.testing.assert_array_equal(picture.pixels, render([3])[0])


@pytest.mark.parametrize("name", DAMAGED)
def test_anything_else_has_its_reason(name):
    data, reason = DAMAGED[name]
    with pytest.raises(ValueError) as error:  # noqa: PT011  the text is compared below
        read_picture(data)
    assert str(error.value).startswith(reason)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
def test_every_mode_of_8_bits_becomes_rgb(mode):
    pixels = read_picture(of_mode(mode)).pixels
    assert pixels.shape == (64, 64, 3)
    assert pixels.dtype == np.uint8


def test_a_palette_with_transparency_raises_no_warning():
    file = io.BytesIO()
    image = PIL.Image.fromarray(render([1])[0]).convert("P")
    image.save(file, "PNG", transparency=bytes(range(256)))
    assert read_picture(file.getvalue()).pixels.shape == (64, 64, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_the_usual_formats(kind):
    assert read_picture(encoded(5, kind)).pixels.shape == (64, 64, 3)


def test_the_hash_is_that_of_the_pixels():
    assert read_picture(encoded(3, "PNG")).hash == read_picture(encoded(3, "BMP")).hash
    assert read_picture(encoded(3)).hash != read_picture(encoded(4)).hash
    flat, tall = (read_picture(picture(shape)).hash for shape in ((2, 8, 3), (8, 2, 3)))
    assert flat != tall


def picture(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(np.zeros(shape, np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(("shape", "size"), [((64, 64, 3), (64, 64)), ((300, 100, 3), (21, 64)), ((5, 9, 3), (9, 5))])
def test_a_thumbnail_is_small_and_keeps_the_proportions(shape, size):
    found = read_picture(picture(shape)).thumbnail
    assert found is not None
    assert PIL.Image.open(io.BytesIO(found)).size == size


def test_no_thumbnail_where_none_is_wanted():
    assert read_picture(encoded(3), thumbnail_px=0).thumbnail is None


def test_a_small_picture_is_its_own_thumbnail():
    found = read_picture(encoded(3))
    np.testing.assert_array_equal(np.asarray(PIL.Image.open(io.BytesIO(found.thumbnail))), found.pixels)
