"""Every law over every kind of descriptor."""

import numpy as np
import PIL.Image
import pytest

from stages.models.descriptors import published
from stages.models.descriptors.loading import load_descriptor
from stages.models.descriptors.spec import DescriptorSpec, score_name
from tests.stages.models.descriptors.tiny import pictures, save_descriptor, save_published

MODELS = ["pixels:8", "folder", "sscd:sscd_disc_blur", "sscd:sscd_disc_large"]
RESIZES = ["own", "short", "square"]
MIXED = [(32, 32, 3), (40, 60, 3), (60, 40, 3), (7, 9, 3), (32, 32, 3)]


@pytest.fixture(scope="module")
def spec_of(tmp_path_factory):
    folder = save_descriptor(tmp_path_factory.mktemp("models") / "random")
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("torch")
        patch.setenv("TORCH_HOME", str(cache))
        (cache / "hub" / "checkpoints").mkdir(parents=True)

        def spec(model: str, resize: str = "own") -> DescriptorSpec:
            if model.startswith("sscd:"):
                name = model.removeprefix("sscd:")
                file = cache / "hub" / "checkpoints" / f"{name}.torchscript.pt"
                model = f"{model}@{save_published(file, published.PUBLISHED[name].dimension)}"
            return DescriptorSpec(model=model.replace("folder", str(folder)), resize=resize, batch=2)

        yield spec


@pytest.fixture(scope="module", params=[(m, r) for m in MODELS for r in RESIZES if (m, r) != ("pixels:8", "short")])
def descriptor(request, spec_of):
    return load_descriptor(spec_of(*request.param))


class TestLaws:
    def test_one_finite_vector_of_the_stated_length_each(self, descriptor):
        vectors = descriptor.embed(pictures(*MIXED))
        assert vectors.shape == (len(MIXED), descriptor.dimension)
        assert vectors.dtype == np.float32
        assert np.isfinite(vectors).all()
        assert descriptor.embed([]).shape == (0, descriptor.dimension)

    def test_a_picture_does_not_know_its_neighbours(self, descriptor):
        images = pictures(*MIXED)
        together = descriptor.embed(images)
        np.testing.assert_array_equal(descriptor.embed(images[::-1]), together[::-1])
        np.testing.assert_array_equal(np.concatenate([descriptor.embed([image]) for image in images]), together)

    def test_a_picture_is_most_like_itself(self, descriptor):
        first, again, other = descriptor.embed([*pictures((32, 32, 3)), *pictures((32, 32, 3), (32, 32, 3))])
        if descriptor.metric == "cosine":
            assert first @ again == pytest.approx(1, abs=1e-6)
            assert first @ other < 1 - 1e-6
        else:
            assert np.linalg.norm(first - again) == 0
            assert np.linalg.norm(first - other) > 0

    def test_cosines_are_of_unit_vectors(self, descriptor):
        norms = np.linalg.norm(descriptor.embed(pictures(*MIXED)), axis=1)
        if descriptor.metric == "cosine":
            np.testing.assert_allclose(norms, 1, atol=1e-6)

    @pytest.mark.parametrize("shape", [(20, 30), (20, 30, 1), (20, 30, 2), (20, 30, 4)])
    def test_other_modes_are_converted_to_rgb_first(self, descriptor, shape):
        (image,) = pictures(shape)
        rgb = np.asarray(PIL.Image.fromarray(image[:, :, 0] if shape[2:] == (1,) else image).convert("RGB"))
        np.testing.assert_array_equal(descriptor.embed([image]), descriptor.embed([rgb]))

    def test_what_is_no_picture_is_refused(self, descriptor):
        with pytest.raises(ValueError, match=r"expects the shape \[h w\] or \[h w 1..4\], but has \(4, 4, 5\)"):
            descriptor.embed(pictures((4, 4, 5)))


@pytest.mark.parametrize(
    ("model", "names"),
    [
        ("pixels:8", {"own": "pixels@8", "square": "pixels@8"}),
        ("folder", {"own": "random@32x32", "short": "random@32", "square": "random@32x32"}),
        ("sscd:sscd_disc_blur", {"own": "sscd_disc_blur@288", "short": "sscd_disc_blur@288"}),
        ("sscd:sscd_disc_large", {"square": "sscd_disc_large@320x320"}),
    ],
)
def test_scores_are_named_by_descriptor_and_size(spec_of, model, names):
    for resize, name in names.items():
        spec = spec_of(model, resize)
        assert score_name(spec) == load_descriptor(spec).name == name


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("pixels:0", "expected pixels:SIDE with a side of 1 to 9999, such as pixels:32"),
        ("sscd:sscd_disc_huge", r"NAME one of sscd_disc_blur, .*sscd_imagenet_mixup"),
        ("sscd:sscd_disc_blur@12ab", "expected sscd:NAME or sscd:NAME@SHA256"),
        ("resnet18", "is neither sscd:NAME, pixels:SIDE, zoo:descriptor nor a local folder"),
        ("./nowhere", "expected a folder of weights"),
        ("zoo:nothing", "the embedded models are .* but 'nothing' was asked for"),
    ],
)
def test_unknown_descriptors_are_refused(model, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message) as caught:
        load_descriptor(DescriptorSpec(model=model))
    assert "\n" not in str(caught.value)


def test_pixels_are_squares_only():
    with pytest.raises(ValueError, match="expected resize own or square, but found short"):
        load_descriptor(DescriptorSpec(model="pixels:8", resize="short"))
