"""Where files lie: a disk, or object storage by its URI; and how one is published whole."""

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

import pyarrow as pa
import pyarrow.fs as pafs

TRIES = 12
"""Of one request, with growing pauses: for a hundred seconds a server may be busy, away or started again."""
ANSWER_S, CONNECT_S = 30.0, 5.0
"""How long a server may be silent, and how long a connection may take."""
CHUNK = 2**23
"""Bytes that are read at a time of a file that may not fit into memory."""
PUTS_WHOLE = ("s3", "gcs")
"""Where a file that is being written has no name before its end. Moving one there is to copy it."""
S3_SETTINGS = ("region", "scheme", "endpoint_override")


def filesystem(uri: str) -> tuple[pafs.FileSystem, str]:
    """Return the file system and the path on it, for a local path or a URI such as s3://bucket/folder.

    Another S3 than Amazon's is named by AWS_ENDPOINT_URL, or by `?endpoint_override=HOST:PORT&scheme=http`. Raises
    `ValueError` for a URI that holds a password.
    """
    if "://" not in uri:
        return pafs.LocalFileSystem(), str(Path(uri).absolute())
    parts = urlsplit(uri)
    if parts.password is not None:
        where = f"{parts.scheme}://{parts.hostname}{parts.path}"
        raise ValueError(
            f"{where}: expected a URI without a password, found one; set it in the environment, for S3 as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    if parts.scheme == "s3":
        return s3(parts.netloc, parts.query, server()), unquote(f"{parts.netloc}{parts.path}").rstrip("/")
    fs, root = pafs.FileSystem.from_uri(uri)
    return fs, root.rstrip("/")


def absolute(place: str) -> str:
    """Return a path or URI as processes that work in other folders understand it."""
    return place if "://" in place else str(Path(place).absolute())


def below(place: str, name: str) -> str:
    """Return the path or URI of what lies in a folder, which is a path or a URI too."""
    if "://" not in place:
        return f"{absolute(place)}/{name}"
    parts = urlsplit(place)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def server() -> str:
    """Return the address of another S3 than Amazon's, by the variables that its tools go by; "" where there is none."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


@cache
def s3(bucket: str, query: str, server: str) -> pafs.S3FileSystem:
    """Return S3 with more patience than pyarrow gives a URI; raises `ValueError`, or `OSError` for no such bucket."""
    address = urlsplit(server)
    settings = {"scheme": address.scheme, "endpoint_override": address.netloc} if server else {}
    settings |= dict(parse_qsl(query))
    if unknown := sorted(settings.keys() - set(S3_SETTINGS)):
        raise ValueError(f"s3://{bucket}: expected settings among {', '.join(S3_SETTINGS)}, found {unknown[0]}")
    if not settings.keys() & {"region", "endpoint_override"}:
        settings["region"] = pafs.resolve_s3_region(bucket)
    return pafs.S3FileSystem(
        # The standard strategy would give up early once many requests have failed, as after an outage.
        retry_strategy=pafs.AwsDefaultS3RetryStrategy(max_attempts=TRIES),
        request_timeout=ANSWER_S,
        connect_timeout=CONNECT_S,
        allow_delayed_open=True,  # a small file is then one request instead of three
        **settings,
    )


def put(fs: pafs.FileSystem, path: str, data: pa.Buffer | bytes) -> None:
    """Publish a file: a reader sees all of it or nothing, and what was there before until then."""
    if fs.type_name in PUTS_WHOLE:
        write(fs, path, data)
        return
    folder, _, name = path.rpartition("/")
    fs.create_dir(folder, recursive=True)
    aside = f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
    try:
        write(fs, aside, data)
        fs.move(aside, path)
    except OSError:
        with suppress(OSError):
            fs.delete_file(aside)
        raise


def write(fs: pafs.FileSystem, path: str, data: pa.Buffer | bytes) -> None:
    """Write a file."""
    with fs.open_output_stream(path) as file:
        file.write(data)


def read(fs: pafs.FileSystem, path: str) -> pa.Buffer:
    """Return what a file holds; raises `FileNotFoundError`."""
    with fs.open_input_file(path) as file:
        return file.read_buffer()


def tail(fs: pafs.FileSystem, path: str, size: int) -> pa.Buffer:
    """Return the last bytes of a file, at most `size`."""
    with fs.open_input_file(path) as file:
        file.seek(max(0, file.size() - size))
        return file.read_buffer()


@contextmanager
def copied(fs: pafs.FileSystem, path: str, target: Path) -> Iterator[str]:
    """Copy a file to this machine and give its SHA-256; it gets its name once the block ends without an error."""
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    seen = hashlib.sha256()
    try:
        with aside.open("wb") as file:
            for chunk in chunks(fs, path):
                seen.update(chunk)
                file.write(chunk)
        yield seen.hexdigest()
        os.replace(aside, target)  # noqa: PTH105  it says that an older one goes
    finally:
        aside.unlink(missing_ok=True)


def sha256(fs: pafs.FileSystem, path: str) -> str:
    """Return the SHA-256 of a file."""
    seen = hashlib.sha256()
    for chunk in chunks(fs, path):
        seen.update(chunk)
    return seen.hexdigest()


def chunks(fs: pafs.FileSystem, path: str) -> Iterator[bytes]:
    """Yield what a file holds, a few MiB at a time; raises `FileNotFoundError`."""
    with fs.open_input_stream(path) as file:
        while chunk := file.read(CHUNK):
            yield chunk
