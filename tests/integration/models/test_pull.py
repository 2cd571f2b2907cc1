"""What a pull brings, when it asks again, and whose licence it asks to agree to."""

import hashlib
import json
from dataclasses import replace

import pytest
from integration.models.pulling import FILES, MODEL, WEIGHTS, options

from fakes.hub import COMMIT, FakeHub
from malha.models import catalogue
from malha.models.catalogue import Files
from malha.models.pull import Progress, needs_agreement, pull
from malha.models.store import ModelStore
from malha.runtime.errors import Aborted, FailedPrecondition, NotFound, PermissionDenied, Unauthenticated


async def test_brings_the_files_with_a_manifest_and_progress(hub: FakeHub, store: ModelStore) -> None:
    seen: list[Progress] = []
    path = await pull(MODEL, store, options(hub), progress=seen.append)
    assert path == store.directory / "whisper" / "tiny" == store.find("whisper/tiny")
    names = {"model.bin", "config.json", "tokenizer.json", "vocabulary.txt"}
    assert {entry.name for entry in path.iterdir()} == names | {"manifest.json"}
    assert all((path / name).read_bytes() == FILES[name] for name in names)
    manifest = json.loads((path / "manifest.json").read_text())
    assert (manifest["repository"], manifest["commit"], manifest["licence"]) == (MODEL.repository, COMMIT, "MIT")
    assert {file["path"]: (file["size_bytes"], file["sha256"]) for file in manifest["files"]} == {
        name: (len(FILES[name]), hashlib.sha256(FILES[name]).hexdigest()) for name in names
    }
    assert seen[-1].done_bytes == seen[-1].total_bytes == sum(len(FILES[name]) for name in names)
    assert store.verify("whisper/tiny") == ()
    (local,) = store.list_local()
    assert (local.name, local.manifest.commit) == ("whisper/tiny", COMMIT)


async def test_a_pulled_model_is_not_asked_for_again(hub: FakeHub, store: ModelStore) -> None:
    await pull(MODEL, store, options(hub))
    asked = len(hub.requests)
    await pull(MODEL, store, options(hub))
    assert len(hub.requests) == asked


@pytest.mark.parametrize("damage", [None, b"{]"])
async def test_only_what_is_missing_or_damaged_is_fetched_again(hub: FakeHub, store: ModelStore, damage: bytes | None) -> None:
    path = await pull(MODEL, store, options(hub))
    (path / "config.json").unlink()
    if damage is not None:
        (path / "config.json").write_bytes(damage)
    hub.requests.clear()
    await pull(MODEL, store, options(hub))
    assert [request.path.rpartition("/")[2] for request in hub.asked("resolve")] == ["config.json"]
    assert store.verify(MODEL.name) == ()


async def test_other_weights_than_the_catalogues_are_not_even_fetched(hub: FakeHub, store: ModelStore) -> None:
    hub.files["model.bin"] = WEIGHTS[::-1]
    with pytest.raises(Aborted, match=r"another model\.bin than the catalogue's"):
        await pull(MODEL, store, options(hub))
    assert not hub.asked("resolve")


async def test_another_commit_than_the_pinned_one_is_refused(hub: FakeHub, store: ModelStore) -> None:
    with pytest.raises(NotFound):
        await pull(replace(MODEL, revision="f" * 40), store, options(hub))
    path = await pull(replace(MODEL, revision="main"), store, options(hub))
    assert json.loads((path / "manifest.json").read_text())["commit"] == COMMIT


async def test_folders_of_a_repository_are_left_alone(hub: FakeHub, store: ModelStore) -> None:
    hub.files["vocabulary.d/x"] = b"x"
    path = await pull(MODEL, store, options(hub))
    assert not (path / "vocabulary.d").exists()


async def test_a_gated_model_says_what_to_do(store: ModelStore) -> None:
    async with FakeHub(MODEL.repository, FILES, gates={MODEL.repository: "secret"}) as hub:
        with pytest.raises(Unauthenticated, match=f"{hub.endpoint}/{MODEL.repository}, then set HF_TOKEN"):
            await pull(MODEL, store, options(hub))
        with pytest.raises(PermissionDenied, match=f"accept its conditions at {hub.endpoint}/{MODEL.repository} with the account"):
            await pull(MODEL, store, options(hub, token="another's"))
        assert store.find(MODEL.name) is None
        assert await pull(MODEL, store, options(hub, token="secret"))


GATED = replace(MODEL, gated=True)


async def test_a_licence_that_asks_is_agreed_to_once(hub: FakeHub, store: ModelStore) -> None:
    with pytest.raises(FailedPrecondition, match="--accept-licence whisper/tiny"):
        await pull(GATED, store, options(hub))
    assert not hub.requests
    assert needs_agreement(GATED, store)
    path = await pull(GATED, store, options(hub), agreed=True)
    assert not needs_agreement(GATED, store)
    agreed_at = json.loads((path / "manifest.json").read_text())["agreed_at"]
    assert agreed_at
    (path / "config.json").unlink()
    await pull(GATED, store, options(hub))  # to mend it, nobody is asked again
    assert json.loads((path / "manifest.json").read_text())["agreed_at"] == agreed_at
    other_terms = replace(GATED, terms=catalogue.LICENCES["CPML-1.0"])
    assert needs_agreement(other_terms, store)


async def test_a_branch_is_looked_up_once_and_stayed_with(hub: FakeHub, store: ModelStore) -> None:
    model = replace(MODEL, revision="main")
    path = await pull(model, store, options(hub))
    (path / "config.json").unlink()
    hub.requests.clear()
    await pull(model, store, options(hub))
    assert hub.asked(f"/revision/{COMMIT}")
    assert not hub.asked("/revision/main")


async def test_a_new_commit_in_the_catalogue_is_pulled(hub: FakeHub, store: ModelStore) -> None:
    path = await pull(MODEL, store, options(hub))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"commit": "f" * 40}))
    hub.requests.clear()
    await pull(MODEL, store, options(hub))
    assert hub.asked("/revision/")
    assert not hub.asked("resolve")  # the same files: nothing to fetch
    assert json.loads((path / "manifest.json").read_text()) == manifest


async def test_small_files_have_to_be_those_of_the_catalogue_too(hub: FakeHub, store: ModelStore) -> None:
    model = replace(MODEL, pins=MODEL.pins | {"config.json": hashlib.sha256(b"other").hexdigest()})
    with pytest.raises(Aborted, match=r"another config\.json than the catalogue's"):
        await pull(model, store, options(hub))
    assert store.find(MODEL.name) is None
    with pytest.raises(NotFound, match=r"has no scales\.bin"):
        await pull(replace(MODEL, pins={"scales.bin": "0" * 64}), store, options(hub))


async def test_files_in_folders_land_in_folders(hub: FakeHub, store: ModelStore) -> None:
    hub.files |= {"plda/plda.npz": WEIGHTS[:2_000], "plda/notes.txt": b"x", "deep/plda/plda.npz": b"x"}
    model = replace(MODEL, files=Files(required=("model.bin", "plda/*.npz")), pins={})
    path = await pull(model, store, options(hub))
    assert {str(entry.relative_to(path)) for entry in path.rglob("*") if entry.is_file()} == {"model.bin", "plda/plda.npz", "manifest.json"}
    assert store.verify(MODEL.name) == ()
