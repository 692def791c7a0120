import pytest
import torch

from stages.models.generator import Generator
from stages.models.loading import load_generator
from stages.models.spec import ModelSpec
from tests.stages.models.tiny import save, save_classifier, save_clip


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Threads only get in each other's way at this size."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    folders: dict[str, str] = {}

    def folder(family: str) -> str:
        if family not in folders:
            folders[family] = str(tmp_path_factory.mktemp(family))
            save(family, folders[family])
        return folders[family]

    return folder


@pytest.fixture(scope="session")
def generator_of(folder_of):
    generators: dict[str, Generator] = {}

    def generator(family: str) -> Generator:
        if family not in generators:
            generators[family] = load_generator(ModelSpec(model=folder_of(family)))
        return generators[family]

    return generator


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    save_classifier(folder)
    return folder


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    save_clip(folder)
    return folder
