import pytest
import torch

from stages.models.token_space import TokenSpace
from stages.sampling import SamplerSpec
from stages.sampling.gradients import Adjoint, Full, Residual, pictures
from stages.sampling.prompts import Extended
from tests.tuning.sage.models import linear_generator

FAMILIES = ("stable_diffusion_1", "latent_consistency", "pixel_text_fixed")
TEXTS = ["cat", "a dog", "the owl"]
WORDS = {1: " s", 2: " s t"}
SAMPLER = SamplerSpec(scheduler="ddim", steps=3, guidance=3.0)


def of_words(space, count, rows):
    """The vectors of words of one character each, for every row."""
    tokens = space.tokens(WORDS[count].strip())
    assert len(tokens) == count
    return space.table[tokens].expand(rows, -1, -1)


def longer(count):
    return [text + WORDS[count] for text in TEXTS]


def latents(generator, rows):
    return torch.randn(rows, *generator.latent_shape(None), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", WORDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_vectors_that_are_a_words_give_its_states(generator_of, family, count):
    generator = generator_of(family)
    space = generator.token_space()
    states = space.encode(Extended(TEXTS, of_words(space, count, len(TEXTS))))
    torch.testing.assert_close(states, generator.condition(longer(count), SAMPLER)["text"], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("gradient", [Full(), Residual(last_steps=2)], ids=repr)
@pytest.mark.parametrize("family", ["stable_diffusion_1", "pixel_text_fixed"])
def test_vectors_that_are_a_words_give_its_pictures(generator_of, family, gradient):
    generator = generator_of(family)
    prompts = Extended(TEXTS, of_words(generator.token_space(), 2, len(TEXTS)))
    x = latents(generator, len(TEXTS))
    plain = generator.draw(x, longer(2), SAMPLER, [])
    assert not torch.allclose(plain, generator.draw(x, TEXTS, SAMPLER, []), atol=1e-4)
    torch.testing.assert_close(pictures(generator, x, prompts, SAMPLER, gradient), plain, atol=1e-5, rtol=1e-5)


def test_rows_have_their_own_vectors(generator_of):
    space = generator_of("stable_diffusion_1").token_space()
    vectors = torch.randn(3, 2, space.table.shape[1], generator=torch.Generator().manual_seed(0))
    together = space.encode(Extended(TEXTS, vectors))
    for row, text in enumerate(TEXTS):
        alone = space.encode(Extended([text], vectors[row : row + 1]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-6, rtol=1e-5)


def test_gradients_reach_each_vector_and_nothing_else(generator_of):
    generator = generator_of("stable_diffusion_1")
    space = generator.token_space()
    vectors = of_words(space, 2, 3).clone().requires_grad_()
    (gradient,) = torch.autograd.grad(space.encode(Extended(TEXTS, vectors)).square().sum(), vectors)
    assert (gradient.abs().amax(2) > 0).all()
    assert all(weight.grad is None for weight in generator.pipe.text_encoder.parameters())


def test_the_branch_without_prompt_does_not_see_the_vectors(generator_of):
    generator = generator_of("stable_diffusion_1")
    seen = []
    handle = generator.pipe.unet.register_forward_pre_hook(
        lambda _, __, given: seen.append(given["encoder_hidden_states"]), with_kwargs=True
    )
    vectors = torch.ones(3, 1, generator.token_space().table.shape[1])
    pictures(generator, latents(generator, 3), Extended(TEXTS, vectors), SAMPLER, Full())
    handle.remove()
    for states in seen:
        assert torch.equal(states[:3], generator.condition([None] * 3, SAMPLER)["text"])
        assert not torch.allclose(states[3:], generator.condition(TEXTS, SAMPLER)["text"])


def test_the_encoder_is_left_as_it_was(generator_of):
    generator = generator_of("stable_diffusion_1")
    space, layer = generator.token_space(), generator.pipe.text_encoder.get_input_embeddings()
    before = generator._encode("cat")["text"]
    with pytest.raises((RuntimeError, IndexError)):
        space.encode(Extended(["cat"], torch.ones(1, 1, 7)))
    space.encode(Extended(["cat"], torch.ones(1, 1, space.table.shape[1])))
    assert not layer._forward_hooks
    assert torch.equal(generator._encode("cat")["text"], before)


class TestRefusals:
    def test_no_room(self, generator_of):
        space = generator_of("stable_diffusion_1").token_space()
        fits, too_long = "a" * 12, "a" * 13
        assert (space.room(fits), space.room(too_long), space.room("a" * 20)) == (2, 1, -6)
        vectors = torch.zeros(2, 2, space.table.shape[1])
        assert space.encode(Extended([fits, fits], vectors)).shape[:2] == (2, 16)
        with pytest.raises(ValueError, match=r"expected room for 2 behind the prompt, found 1 of 16 .* shorten it$"):
            space.encode(Extended([fits, too_long], vectors))

    @pytest.mark.parametrize(
        "family", ["stable_diffusion_xl", "stable_diffusion_3", "flux", "deep_floyd", "glide", "pixel_unconditional"]
    )
    def test_models_that_read_more_than_one_clip(self, generator_of, family):
        with pytest.raises(ValueError, match=r"^token embeddings: expected a model whose one text encoder is CLIP's"):
            generator_of(family).token_space()

    def test_models_without_text(self):
        with pytest.raises(ValueError, match="one text encoder is CLIP's, found AnalyticPipe"):
            linear_generator().token_space()

    def test_a_gradient_that_does_not_reach_them(self, generator_of):
        generator = generator_of("stable_diffusion_1")
        vectors = torch.zeros(1, 1, generator.token_space().table.shape[1], requires_grad=True)
        with pytest.raises(ValueError, match="expected kind='full' or 'residual' for vectors behind a prompt"):
            pictures(generator, latents(generator, 1), Extended(["cat"], vectors), SAMPLER, Adjoint())


def test_the_space_is_that_of_the_model(generator_of):
    generator = generator_of("stable_diffusion_1")
    space = generator.token_space()
    assert isinstance(space, TokenSpace)
    assert space.table.shape == (len(space.tokenizer), 32)
    assert not space.table.requires_grad
