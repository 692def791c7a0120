"""Where files lie: paths and URIs, servers, what is refused, and what is copied."""

import hashlib
from pathlib import Path

import pyarrow.fs as pafs
import pytest

from stages.storage import absolute, below, copied, filesystem, put, read, sha256
from tests import s3


def test_a_path_is_a_place_on_this_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for text in ("runs/store", f"{tmp_path}/runs/store", f"file://{tmp_path}/runs/store"):
        fs, root = filesystem(text)
        assert isinstance(fs, pafs.LocalFileSystem)
        assert root == f"{tmp_path}/runs/store"


def test_another_s3_is_named_by_the_uri_or_by_the_variable_of_its_tools(s3_port, monkeypatch: pytest.MonkeyPatch):
    place = s3.bucket(s3_port)
    fs, root = filesystem(s3.uri(place, s3_port))
    put(fs, f"{root}/file", b"content")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    fs, again = filesystem(place)
    assert again == root
    assert read(fs, f"{root}/file").to_pybytes() == b"content"


@pytest.mark.parametrize("uri", ["s3://key:hidden@bucket/store", "abfs://account:hidden@host/store"])
def test_a_password_is_refused_and_not_repeated(uri: str):
    with pytest.raises(ValueError, match="expected a URI without a password, found one; set it in the env") as caught:
        filesystem(uri)
    assert "hidden" not in str(caught.value)


def test_a_setting_of_s3_that_is_none_is_refused():
    with pytest.raises(ValueError, match="expected settings among region, scheme, endpoint_override, found acces_key"):
        filesystem("s3://bucket/store?acces_key=x")


def test_a_file_is_replaced_whole(tmp_path: Path):
    fs, root = filesystem(str(tmp_path))
    for content in (b"first", b"second"):
        put(fs, f"{root}/a/file", content)
        assert read(fs, f"{root}/a/file").to_pybytes() == content
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]


def test_what_lies_below_a_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert below("runs", "parts") == f"{tmp_path}/runs/parts"
    assert below("s3://bucket/runs?scheme=http", "parts") == "s3://bucket/runs/parts?scheme=http"
    assert absolute("runs") == f"{tmp_path}/runs"
    assert absolute("s3://bucket/runs") == "s3://bucket/runs"


def test_a_copy_has_its_name_only_once_it_is_accepted(tmp_path: Path, s3_port: int):
    fs, root = filesystem(s3.uri(s3.bucket(s3_port), s3_port))
    put(fs, f"{root}/file", b"content")
    target, known = tmp_path / "copy", hashlib.sha256(b"content").hexdigest()
    with pytest.raises(ValueError, match="of no use"), copied(fs, f"{root}/file", target):
        raise ValueError("of no use")
    assert list(tmp_path.iterdir()) == []
    with copied(fs, f"{root}/file", target) as found:
        assert not target.exists()
    assert (target.read_bytes(), found, sha256(fs, f"{root}/file")) == (b"content", known, known)
