"""Recordings that wait: names nobody guesses, room that ends, files that do not stay."""

import os
import time
import uuid
from pathlib import Path

import pytest

from malha.runtime.errors import NotFound, ResourceExhausted
from malha.runtime.job_files import CLAIMED_SECONDS, FORSAKEN_SECONDS, JobFiles

TENANT, JOB = uuid.UUID(int=1 << 100), uuid.UUID(int=2 << 100)


@pytest.fixture
def files(tmp_path: Path) -> JobFiles:
    return JobFiles(tmp_path, 100)


def upload(files: JobFiles, content: bytes = b"x" * 60) -> str:
    name, file = files.create()
    with file:
        file.write(content)
    files.complete(name)
    return name


def test_an_upload_is_claimed_once(files: JobFiles) -> None:
    name = upload(files)
    files.claim(name, TENANT, JOB)
    assert files.path(TENANT, JOB).read_bytes() == b"x" * 60
    assert files.path(TENANT, JOB).stat().st_mode & 0o777 == 0o600
    with pytest.raises(NotFound):
        files.claim(name, TENANT, uuid.uuid4())
    files.discard(TENANT, JOB)
    files.discard(TENANT, JOB)
    assert not files.path(TENANT, JOB).exists()


def test_an_upload_that_is_not_whole_is_not_there(files: JobFiles) -> None:
    name, file = files.create()
    with file, pytest.raises(NotFound):
        files.claim(name, TENANT, JOB)


@pytest.mark.parametrize("name", ["", "..", "../token", "a" * 31, "A" * 32, "a" * 32 + "\n", f"{TENANT}.{JOB}.job"])
def test_only_names_of_uploads_are_claimed(files: JobFiles, tmp_path: Path, name: str) -> None:
    (tmp_path / "token").write_text("secret")
    upload(files)
    with pytest.raises(NotFound):
        files.claim(name, TENANT, JOB)


def test_the_room_ends(files: JobFiles) -> None:
    files.check_room(100)
    upload(files)
    files.check_room(40)
    with pytest.raises(ResourceExhausted):
        files.check_room(41)


def test_what_is_forsaken_is_swept_and_jobs_are_asked_about(files: JobFiles) -> None:
    kept, forsaken, claimed = upload(files, b"a"), upload(files, b"b"), upload(files, b"c")
    part, file = files.create()
    file.close()
    files.claim(claimed, TENANT, JOB)
    directory = files.path(TENANT, JOB).parent
    old = time.time() - FORSAKEN_SECONDS - 1
    for path in (directory / forsaken, directory / f"{part}.part", files.path(TENANT, JOB)):
        os.utime(path, (old, old))
    assert files.sweep() == [(TENANT, JOB)]
    assert {path.name for path in directory.iterdir()} == {kept, files.path(TENANT, JOB).name}


def test_a_job_is_asked_about_minutes_after_it_took_its_file_over_however_old_that_is(files: JobFiles) -> None:
    name = upload(files)
    old = time.time() - FORSAKEN_SECONDS + 60
    os.utime(files.path(TENANT, JOB).parent / name, (old, old))
    files.claim(name, TENANT, JOB)
    assert files.sweep() == []
    old = time.time() - CLAIMED_SECONDS - 1
    os.utime(files.path(TENANT, JOB), (old, old))
    assert files.sweep() == [(TENANT, JOB)]
