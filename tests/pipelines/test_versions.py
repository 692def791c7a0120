"""Which versions compute."""

from pipelines.versions import git_revision, versions


def test_versions_name_what_computes():
    assert {"version.torch", "version.diffusers", "version.ray", "version.seedquake"} <= versions().keys()
    assert git_revision() is None or len(git_revision().rstrip("+")) == 40
