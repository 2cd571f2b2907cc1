"""The SDK installs alone: its wheel and what its wheel asks for, in an empty environment."""

import asyncio
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fakes.audio_server import TOKEN, serving

REPOSITORY = Path(__file__).resolve().parents[3]
UNREACHABLE = ("NewConnectionError", "NameResolutionError", "ConnectTimeout", "Temporary failure in name resolution")

PROGRAM = """
import asyncio, sys
import malha.sdk as sdk

async def main():
    async with sdk.Malha() as malha:
        print([type(event).__name__ async for event in malha.live([bytes(3200)], language="en")])
        print((await malha.transcribe(b"RIFF" + bytes(1000))).text)
        print((await malha.health()).serving)

asyncio.run(main())
with sdk.MalhaSync() as malha:
    print(len(b"".join(chunk.audio for chunk in malha.say("Bom dia", language="pt-BR"))))
print(sdk.__version__, sdk.__file__.startswith(sys.prefix))
"""


def run(*command, **given) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600, **given)
    if done.returncode and any(sign in done.stderr for sign in UNREACHABLE):
        pytest.skip("no package index in reach")
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, REPOSITORY / "sdk")
    (made,) = folder.glob("malha_sdk-*.whl")
    return made


@pytest.mark.slow
def test_the_wheel_holds_the_sdk_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        metadata = content.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert "malha/sdk/py.typed" in names
    assert "malha/sdk/_gen/malha/api/audio/v1/__init__.py" in names
    assert "malha/__init__.py" not in names  # a namespace shared with the other distributions
    assert all(name.startswith(("malha/sdk/", "malha_sdk-")) for name in names)
    required = set(re.findall(r"^Requires-Dist: ([\w-]+)", metadata, re.MULTILINE))
    assert required == {"betterproto2", "grpcio", "python-dateutil", "typing-extensions"}


@pytest.mark.slow
async def test_it_works_in_an_empty_environment(wheel, tmp_path):
    environment = tmp_path / "venv"
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    constraints = REPOSITORY / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", *(["-c", constraints] if constraints.exists() else []), wheel)
    installed = {line.split("==")[0].lower() for line in run(python, "-m", "pip", "list", "--format", "freeze").split()}
    assert not installed & {"malha-api", "malha-services", "protobuf", "grpclib", "pydantic", "grpcio-status", "googleapis-common-protos"}
    async with serving() as server:
        process = await asyncio.create_subprocess_exec(
            python,
            "-W",
            "error",
            "-c",
            PROGRAM,
            cwd=tmp_path,
            env={"MALHA_TARGET": server.target, "MALHA_TOKEN": TOKEN, "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            output, errors = await process.communicate()
    assert (process.returncode, errors.decode()) == (0, "")
    assert output.decode().splitlines() == ["['Opened', 'Ack', 'Final', 'Summary', 'Closed']", "the end", "True", "14", "0.1.0 True"]
