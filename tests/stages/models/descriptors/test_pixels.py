import numpy as np
import PIL.Image

from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec
from tests.stages.models.descriptors.tiny import pictures


def test_a_picture_of_the_size_is_itself():
    (image,) = pictures((8, 8, 3))
    (vector,) = load_descriptor(DescriptorSpec(model="pixels:8")).embed([image])
    np.testing.assert_array_equal(vector, image.reshape(-1).astype(np.float32) / np.float32(255))


def test_another_is_resized_by_pillow():
    (image,) = pictures((30, 50, 3))
    (vector,) = load_descriptor(DescriptorSpec(model="pixels:8")).embed([image])
    small = PIL.Image.fromarray(image).resize((8, 8), PIL.Image.Resampling.BILINEAR)
    np.testing.assert_array_equal((vector * 255).round(), np.asarray(small).reshape(-1))


def test_its_distance_is_that_of_the_pictures():
    one, other = pictures((8, 8, 3), (8, 8, 3))
    a, b = load_descriptor(DescriptorSpec(model="pixels:8")).embed([one, other])
    expected = np.sqrt(((one / 255.0 - other / 255.0) ** 2).sum())
    np.testing.assert_allclose(np.linalg.norm(a - b), expected, rtol=1e-5)
