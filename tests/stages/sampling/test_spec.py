import pytest
from pydantic import ValidationError

from stages.degradations import BoxInpainting, SuperResolution
from stages.degradations.pictures import FolderPicture
from stages.sampling import SamplerSpec, parse
from stages.sampling.measurement import Measurement
from stages.sampling.upsampling import Upsampling

BOX = Measurement(operator=BoxInpainting())
FOLDER = Measurement(
    operator=SuperResolution(), picture=FolderPicture(path="here"), scale=1, gradient_of="squared_norm"
)
TABLE = [
    SamplerSpec(),
    SamplerSpec(scheduler="ddim", eta=0.5, steps=20),
    SamplerSpec(guidance=0, size_px=64),
    SamplerSpec(scheduler="heun", steps=18, guidance=1),
    SamplerSpec(scheduler="edm_euler", measurement=BOX),
    SamplerSpec(measurement=FOLDER),
    SamplerSpec(upsampling=Upsampling(steps="fast27", temperature=0.997), steps=100, guidance=3),
    SamplerSpec(scheduler="ddim", spacing="trailing", terminal_snr="zero", upsampling=Upsampling(steps=5)),
]


@pytest.mark.parametrize("spec", TABLE, ids=repr)
def test_survives_json(spec):
    assert parse(spec.canonical()) == spec


@pytest.mark.parametrize(
    "settings",
    [
        {"steps": 0},
        {"steps": -5},
        {"steps": 1001},
        {"guidance": -0.1},
        {"guidance": float("nan")},
        {"eta": 1.5, "scheduler": "ddim"},
        {"eta": 0.5},
        {"scheduler": "dddim"},
        {"size_px": 0},
        {"stepz": 5},
        {"scheduler": "heun", "measurement": BOX},
        {"scheduler": "ddim", "eta": 0.1, "measurement": BOX},
        {"measurement": {"operator": {"kind": "forgetting"}}},
        {"scheduler": "ddim", "measurement": BOX, "upsampling": {}},
        {"scheduler": "ddim", "measurement": BOX, "terminal_snr": "zero"},
        {"upsampling": {"steps": "fast28"}},
        {"upsampling": {"steps": 0}},
        {"upsampling": {"temperature": -1}},
        {"spacing": "logarithmic"},
        {"terminal_snr": 0},
        {"measurement": {"operator": {"kind": "box_inpainting"}, "gradient_of": "squared_norm"}},
    ],
    ids=str,
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        SamplerSpec(**settings)


def test_what_is_not_asked_for_leaves_the_samples_id_as_it_was():
    assert not {"measurement", "upsampling", "spacing", "terminal_snr"} & SamplerSpec().model_dump().keys()
    assert SamplerSpec(measurement=BOX).fingerprint() != SamplerSpec().fingerprint()


def test_the_step_size_is_the_operators_own_unless_given():
    """Diffusion posterior sampling (arXiv:2209.14687): 0.5 for inpainting, 0.3 for the others."""
    assert BOX.step_size == 0.5
    assert Measurement(operator=SuperResolution()).step_size == 0.3
    assert FOLDER.step_size == 1


def test_settings_that_are_null_are_the_models_own():
    own = Upsampling(scheduler="ddim", steps="fast27", guidance=1.0, temperature=0.997)
    assert Upsampling().over(own) == own
    assert Upsampling(steps=5, temperature=0.0).over(own) == own.model_copy(update={"steps": 5, "temperature": 0.0})
