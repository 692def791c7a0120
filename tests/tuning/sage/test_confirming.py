"""What a search has found counts if, drawn alone, it still fails."""

import numpy as np
import torch

from tests.tuning.sage.prompt_models import NEVER, SAMPLER, generator, surrogate
from tuning.sage import failures
from tuning.sage.confirming import Confirming, Suspect
from tuning.sage.latent import seed_latent
from tuning.sage.targets import Untargeted

GENERATOR, PLAIN, FOUND = generator(), "a photo of a circle", "a photo of a circle gold"


def confirming(folder, bias):
    return Confirming("zoo:text-to-image", SAMPLER, GENERATOR, surrogate(bias), folder)


def suspect(**changes):
    settings = {"search": "prompt", "prompt": FOUND, "before": PLAIN, "label": "circle", "target": Untargeted()}
    rest = {"seed": 3, "evaluations": 5, "objective": 0.5, "measured": {"share_of_seeds": 1.0}}
    return Suspect(**settings | rest | changes)


def test_what_still_fails_is_kept_with_the_plain_picture_of_its_seed(tmp_path):
    name = confirming(tmp_path, bias=1000.0)(suspect())
    (saved,) = failures.every(tmp_path)
    assert saved.failure.name == name
    latent = seed_latent(GENERATOR, SAMPLER, 3)
    np.testing.assert_array_equal(saved.latent, latent)
    np.testing.assert_array_equal(saved.before, failures.draw(GENERATOR, SAMPLER, PLAIN, latent))
    np.testing.assert_array_equal(saved.after, failures.draw(GENERATOR, SAMPLER, FOUND, latent))
    assert (saved.failure.prompt, saved.failure.before, saved.failure.evaluations) == (FOUND, PLAIN, 5)
    np.testing.assert_array_equal(failures.redraw(saved, GENERATOR), saved.after)


def test_what_does_not_fail_alone_is_not_kept(tmp_path):
    assert confirming(tmp_path, bias=NEVER)(suspect()) is None
    assert not failures.every(tmp_path)


def test_latent_and_vectors_are_those_of_the_suspect(tmp_path):
    latent = seed_latent(GENERATOR, SAMPLER, 8)
    vectors = torch.randn(1, 32, generator=torch.Generator().manual_seed(0)).numpy()
    kept = confirming(tmp_path, bias=1000.0)
    names = [kept(suspect(latent=latent)), kept(suspect(vectors=vectors))]
    by_latent, by_token = (failures.load(tmp_path / name) for name in names)
    np.testing.assert_array_equal(by_latent.latent, latent)
    assert by_latent.vectors is None
    np.testing.assert_array_equal(by_token.vectors, vectors)
    np.testing.assert_array_equal(
        by_token.after, failures.draw(GENERATOR, SAMPLER, FOUND, seed_latent(GENERATOR, SAMPLER, 3), vectors)
    )
    np.testing.assert_array_equal(by_latent.before, by_token.before)
