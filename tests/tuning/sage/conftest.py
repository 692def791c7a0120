import pytest
import torch

from tests.stages.models.tiny import save_classifier, save_clip


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    """A classifier of the classes a to g that resizes and crops."""
    folder = tmp_path_factory.mktemp("classifier")
    torch.manual_seed(0)
    save_classifier(folder, crop=0.875)
    return str(folder)


@pytest.fixture(scope="session")
def judge_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    torch.manual_seed(1)
    save_classifier(folder)
    return str(folder)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(2)
    save_clip(folder)
    return str(folder)
