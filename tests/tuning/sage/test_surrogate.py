import math
from typing import get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch.nn.functional import log_softmax

from stages.models.classifiers import load_classifier
from stages.models.clip import load_clip
from stages.models.spec import ModelSpec
from tests.tuning.sage.models import LABELS, Logistic
from tuning.sage.edges import Edges
from tuning.sage.surrogate import (
    AnyMember,
    ClassifierMember,
    ClipMember,
    EdgeMember,
    EdgesOnly,
    Member,
    Surrogate,
    SurrogateSpec,
    load_surrogate,
)
from tuning.sage.targets import AnyLoss, AnyTarget, Distorted, MarginLoss, PaperLoss, Targeted, Untargeted

SET = ("c", "a", "e")


def photos(side=32, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def tensors(pictures):
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def spec_of(classifier_folder, judge_folder, clip_folder):
    members = (
        ClassifierMember(model=classifier_folder),
        EdgeMember(model=classifier_folder),
        ClipMember(model=clip_folder),
    )
    return SurrogateSpec(labels=SET, members=members, judge=ClassifierMember(model=judge_folder))


@pytest.fixture(scope="module")
def surrogate(classifier_folder, judge_folder, clip_folder):
    return load_surrogate(spec_of(classifier_folder, judge_folder, clip_folder))


@pytest.mark.parametrize(("side", "close"), [(36, 1e-4), (48, 0.1)])
def test_a_classifier_answers_as_its_stage_does(classifier_folder, surrogate, side, close):
    """Of the size that it resizes to exactly, and of another up to the rounding of resized pictures."""
    logits = load_classifier(ModelSpec(model=classifier_folder)).logits(list(photos(side)))
    expected = log_softmax(logits[:, [2, 0, 4]], dim=1)
    found = surrogate.members[0].log_probabilities(tensors(photos(side)))
    torch.testing.assert_close(found, expected, atol=close, rtol=0)


def test_clip_answers_as_its_cosines(clip_folder, surrogate):
    clip = load_clip(ModelSpec(model=clip_folder))
    prompts = ["a photo of a c", "a photo of an a", "a photo of an e"]
    cosines = torch.stack([clip.cosine(list(photos()), [prompt] * 3) for prompt in prompts], dim=1)
    expected = log_softmax(clip.network.logit_scale.exp().detach() * cosines, dim=1)
    torch.testing.assert_close(surrogate.members[2].log_probabilities(tensors(photos())), expected, atol=1e-4, rtol=0)


def test_every_member_is_a_distribution_with_a_gradient(surrogate):
    x = tensors(photos()).requires_grad_()
    log_p = surrogate.log_probabilities(x)
    assert log_p.shape == (3, 3, 3)
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(3, 3))
    for number, member in enumerate(surrogate.members):
        assert isinstance(member, Member)
        (gradient,) = torch.autograd.grad(log_p[number, 1, 0], x, retain_graph=True)
        assert (gradient[1] != 0).any()
        assert (gradient[[0, 2]] == 0).all(), "a picture must not move another's answer"


def test_edges_are_soft_for_gradients_and_canny_for_verdicts():
    plain = Logistic()
    member, x = EdgesOnly(plain, Edges()), torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    soft, canny = (look(x).expand_as(x) for look in (Edges().soft, Edges().canny))
    torch.testing.assert_close(member.log_probabilities(x), plain.log_probabilities(soft))
    torch.testing.assert_close(member.verdict(x), plain.log_probabilities(canny))


UNSURE, SURE, OTHER = (torch.tensor(p).log() for p in ([0.4, 0.3, 0.3], [0.8, 0.1, 0.1], [0.1, 0.2, 0.7]))


def test_targets_are_seen_where_they_should_be():
    seen = {
        Untargeted(): (False, False, True),
        Targeted(target="e"): (False, False, True),
        Targeted(target="a"): (False, False, False),
        Distorted(): (True, False, False),
    }
    for target, expected in seen.items():
        assert tuple(bool(target.margin(p, 0, SET) > 0) for p in (UNSURE, SURE, OTHER)) == expected, target


def test_losses_have_their_formulas():
    """The paper's is the sum of 1 - 2 p over the members: its sign is such that a search maximises it."""
    both = torch.stack([SURE, OTHER])
    assert float(PaperLoss()(Untargeted(), both, 0, SET)) == pytest.approx((1 - 1.6) + (1 - 0.2))
    assert float(PaperLoss()(Targeted(target="e"), both, 0, SET)) == pytest.approx((0.2 - 1) + (1.4 - 1))
    assert float(PaperLoss()(Distorted(), both, 0, SET)) == pytest.approx((1 - 1.6) + (1 - 1.4))
    assert float(MarginLoss()(Untargeted(), both, 0, SET)) == pytest.approx(math.log(0.1 / 0.8) + math.log(0.7 / 0.1))
    assert float(MarginLoss()(Targeted(target="e"), both, 0, SET)) == pytest.approx(math.log(0.1 / 0.8) + math.log(3.5))
    assert float(MarginLoss()(Distorted(low=0.9), both, 0, SET)) == pytest.approx(2 * math.log(0.9) - math.log(0.56))


@pytest.mark.parametrize("loss", [PaperLoss(), MarginLoss()], ids=repr)
@pytest.mark.parametrize("target", [Untargeted(), Targeted(target="e"), Distorted()], ids=repr)
def test_losses_rise_towards_their_target(loss, target):
    worse, better = SURE, {"untargeted": OTHER, "targeted": OTHER, "distorted": UNSURE}[target.kind]
    assert loss(target, better[None], 0, SET) > loss(target, worse[None], 0, SET)


def test_a_failure_needs_every_member_and_the_judge():
    """Pictures whose log-odds of the other class are -1 and 1 for the first, whatever the rest says."""
    pictures = torch.full((1, 3, 8, 8), 0.5)
    for first, second, judge in ((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)):
        members = [Logistic("one", bias=float(first)), Logistic("two", bias=float(second))]
        surrogate = Surrogate(members, Logistic("judge", bias=float(judge)), LABELS)
        fails = surrogate.fails(pictures, ["circle"], [Untargeted()])
        assert fails.tolist() == [first == second == judge == 1]


def test_a_picture_that_is_missing_is_no_failure():
    pictures = torch.full((2, 3, 8, 8), 0.5)
    pictures[0, 0, 0, 0] = math.nan
    surrogate = Surrogate([Logistic("one", bias=1.0)], Logistic("judge", bias=1.0), LABELS)
    assert surrogate.fails(pictures, ["circle"] * 2, [Untargeted()] * 2).tolist() == [False, True]


class TestRefusals:
    def test_a_judge_of_the_ensemble(self, classifier_folder):
        member = ClassifierMember(model=classifier_folder)
        with pytest.raises(ValidationError, match="expected a judge that is no member of the ensemble"):
            SurrogateSpec(labels=SET, members=(EdgeMember(model=classifier_folder),), judge=member)
        with pytest.raises(ValueError, match="no member of the ensemble, found 'one' in both"):
            Surrogate([Logistic("one")], Logistic("one"), LABELS)

    def test_a_judge_under_another_name(self, classifier_folder):
        members = (ClassifierMember(model=classifier_folder),)
        spec = SurrogateSpec(
            labels=SET, members=members, judge=ClassifierMember(model=f"local-dir:{classifier_folder}")
        )
        with pytest.raises(ValueError, match="no member of the ensemble"):
            load_surrogate(spec)

    def test_a_class_that_the_classifier_does_not_know(self, classifier_folder, judge_folder):
        members = (ClassifierMember(model=classifier_folder),)
        spec = SurrogateSpec(labels=("a", "dog"), members=members, judge=ClassifierMember(model=judge_folder))
        with pytest.raises(ValueError, match="expected the classes dog among those of"):
            load_surrogate(spec)

    def test_a_class_that_is_not_in_the_label_set(self):
        for target, label in ((Untargeted(), "dog"), (Targeted(target="dog"), "a"), (Distorted(), "dog")):
            with pytest.raises(ValueError, match="expected a class of the label set c, a, e, found 'dog'"):
                target.check(label, SET)

    def test_a_target_that_is_the_class(self):
        with pytest.raises(ValueError, match="a target other than the prompt's class, found 'a' for both"):
            Targeted(target="a").check("a", SET)

    def test_labels_that_repeat(self, classifier_folder, judge_folder):
        with pytest.raises(ValidationError, match="expected distinct labels"):
            SurrogateSpec(
                labels=("a", "a"),
                members=(ClassifierMember(model=classifier_folder),),
                judge=ClassifierMember(model=judge_folder),
            )

    def test_a_template_without_a_label(self):
        with pytest.raises(ValidationError):
            ClipMember(model="zoo:clip", template="a photo")


FAMILIES = {
    AnyTarget: [Untargeted(), Targeted(target="a"), Distorted()],
    AnyLoss: [PaperLoss(), MarginLoss()],
    AnyMember: [ClassifierMember(model="m"), EdgeMember(model="m"), ClipMember(model="m")],
}


@pytest.mark.parametrize("union", FAMILIES, ids=["target", "loss", "member"])
def test_families_are_complete_and_survive_json(union):
    table = FAMILIES[union]
    assert {type(one) for one in table} == set(get_args(get_args(union)[0]))
    assert all(TypeAdapter(union).validate_json(one.model_dump_json()) == one for one in table)
