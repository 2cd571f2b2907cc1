"""A tiny pyannote pipeline that tells hums apart: pyannote's own architectures, taught in seconds. Run by the environment that has pyannote.audio:

    PYTHONPATH=tests python -m fakes.tiny_pyannote DIRECTORY

writes ``community`` (as pyannote 4's: folders of its own, VBx), and, as `malha models` lays it out, ``models/pyannote/...`` of 3.1 (hub ids,
agglomerative clustering).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

RATE = 16_000
PITCHES = (150.0, 420.0, 900.0, 1500.0)
"""Of the voices."""
SEGMENTATION_STEPS, EMBEDDING_STEPS = 300, 30
CLIPS, CLIP_SECONDS, CLIP_FRAMES = 200, 3.0, 175
DIMENSION = 32


def hum(voice: int, seconds: float, *, seed: int = 0) -> np.ndarray:
    """A voice: a tone with overtones and syllables. In -1..1."""
    random = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = PITCHES[voice] * (1 + 0.02 * np.sin(2 * np.pi * random.uniform(2, 5) * time))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    tone = sum(np.sin(number * phase + random.uniform(0, 6)) / number for number in (1, 2, 3))
    return tone * 0.15 * random.uniform(0.6, 1.4) * (0.8 + 0.2 * np.sin(2 * np.pi * 4 * time))


def conversation(turns: list[tuple[int, float, float]], seconds: float, *, seed: int = 0) -> np.ndarray:
    """``turns``: (voice, start, end). They may overlap."""
    random = np.random.default_rng(seed)
    samples = random.standard_normal(int(seconds * RATE)) * 0.003
    for number, (voice, start, end) in enumerate(turns):
        part = hum(voice, end - start, seed=seed + number)
        samples[int(start * RATE) :][: len(part)] += part
    return samples


def _teach_segmentation(torch: Any) -> Any:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.segmentation import PyanNet
    from pyannote.audio.utils.powerset import Powerset

    model = PyanNet(
        sincnet={"stride": 10},
        lstm={"hidden_size": 16, "num_layers": 1, "bidirectional": True, "monolithic": True, "dropout": 0.0},
        linear={"hidden_size": 16, "num_layers": 1},
    )
    model.specifications = Specifications(
        problem=Problem.MONO_LABEL_CLASSIFICATION,
        resolution=Resolution.FRAME,
        duration=10.0,
        min_duration=None,
        warm_up=(0.0, 0.0),
        classes=["speaker#1", "speaker#2", "speaker#3"],
        powerset_max_classes=2,
        permutation_invariant=True,
    )
    model.build()
    random = np.random.default_rng(0)
    clips, active = zip(*(_clip(random, model.receptive_field) for _ in range(CLIPS)), strict=True)
    wanted = Powerset(3, 2).to_powerset(torch.tensor(np.array(active), dtype=torch.float32)).argmax(-1)
    # what it hears sounds with stays as it is made; what it makes of that is taught
    with torch.no_grad():
        heard = torch.cat([model.sincnet(torch.tensor(clip, dtype=torch.float32)[None, None]) for clip in clips])
    sincnet, model.sincnet = model.sincnet, torch.nn.Identity()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(SEGMENTATION_STEPS):
        batch = torch.tensor(random.choice(CLIPS, 16, replace=False))
        loss = torch.nn.functional.nll_loss(model(heard[batch]).flatten(0, 1), wanted[batch].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    print(f"segmentation: loss {loss.item():.3f}")
    model.sincnet = sincnet
    return model.eval()


def _clip(random: np.random.Generator, frames: Any) -> tuple[np.ndarray, np.ndarray]:
    """Three seconds of up to two voices, and who speaks in each frame. The lower voice is the first speaker: what is asked for hangs on nothing unheard."""
    voices = np.sort(random.choice(len(PITCHES), 2, replace=False)).tolist()
    turns, at = [], float(random.choice((0.0, 0.5, 2.0, CLIP_SECONDS)))
    while at < CLIP_SECONDS:
        length = float(random.uniform(0.3, 1.5))
        turns.append((voices[int(random.integers(0, 2))], at, min(CLIP_SECONDS, at + length)))
        at += length * float(random.uniform(0.5, 1.2)) if random.random() < 0.3 else length + float(random.choice((0.0, 0.3, 1.0)))
    present = sorted({voice for voice, _, _ in turns})
    middles = np.array([frames[frame].middle for frame in range(CLIP_FRAMES)])
    active = np.zeros((CLIP_FRAMES, 3))
    for voice, start, end in turns:
        active[(middles >= start) & (middles < end), present.index(voice)] = 1
    return conversation(turns, CLIP_SECONDS, seed=int(random.integers(1 << 30))), active


def _teach_embedding(torch: Any) -> Any:
    from pyannote.audio.core.task import Problem, Resolution, Specifications
    from pyannote.audio.models.embedding import XVectorSincNet

    model = XVectorSincNet(dimension=DIMENSION)
    model.specifications = Specifications(problem=Problem.REPRESENTATION, resolution=Resolution.CHUNK, duration=5.0)
    model.build()
    model.train()
    head = torch.nn.Linear(DIMENSION, len(PITCHES), bias=False)
    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=2e-3)
    random = np.random.default_rng(1)
    for _ in range(EMBEDDING_STEPS):
        voices = np.tile(np.arange(len(PITCHES)), 2)
        others = (voices + random.integers(1, len(PITCHES), len(voices))) % len(PITCHES)
        pairs = zip(voices.tolist(), others.tolist(), strict=True)
        batch = [conversation([(one, 0.3, 1.3), (other, 1.5, 2.5)], 3.0, seed=int(random.integers(1 << 30))) for one, other in pairs]
        masks = torch.zeros(len(batch), 30)
        masks[:, 3:13] = 1
        prints = torch.nn.functional.normalize(model(torch.tensor(np.array(batch), dtype=torch.float32)[:, None], weights=masks))
        loss = torch.nn.functional.cross_entropy(8 * prints @ torch.nn.functional.normalize(head.weight).T, torch.tensor(voices))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"embedding: loss {loss.item():.3f}")
    return model.eval()


def _write_weights(torch: Any, model: Any, directory: Path) -> None:
    import pyannote.audio

    directory.mkdir(parents=True, exist_ok=True)
    kind = type(model)
    checkpoint = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "pytorch-lightning_version": "2.6.6",
        "epoch": 0,
        "global_step": 0,
        "pyannote.audio": {
            "versions": {"torch": torch.__version__, "pyannote.audio": pyannote.audio.__version__},
            "architecture": {"module": kind.__module__, "class": kind.__name__},
            "specifications": model.specifications,
        },
    }
    torch.save(checkpoint, directory / "pytorch_model.bin")


def _write_plda(torch: Any, model: Any, directory: Path) -> None:
    """One that takes embeddings as they are, but for their mean."""
    directory.mkdir(parents=True, exist_ok=True)
    voices = torch.tensor(np.array([hum(voice, 1.0) for voice in range(len(PITCHES))]), dtype=torch.float32)
    with torch.no_grad():
        mean = model(voices[:, None]).mean(0).numpy()
    np.savez(directory / "xvec_transform.npz", mean1=mean, mean2=np.zeros(DIMENSION), lda=np.eye(DIMENSION))
    np.savez(directory / "plda.npz", mu=np.zeros(DIMENSION), tr=np.eye(DIMENSION), psi=np.ones(DIMENSION))


def write(directory: Path) -> None:
    import torch
    import yaml

    torch.set_num_threads(1)
    torch.manual_seed(0)
    segmentation, embedding = _teach_segmentation(torch), _teach_embedding(torch)
    community, models = directory / "community", directory / "models" / "pyannote"
    older = models / "speaker-diarization-3.1"
    for place in (community / "segmentation", models / "segmentation-3.0"):
        _write_weights(torch, segmentation, place)
    for place in (community / "embedding", models / "wespeaker-voxceleb-resnet34-lm"):
        _write_weights(torch, embedding, place)
        (place / "config.yaml").write_text("{}")
    (models / "segmentation-3.0" / "config.yaml").write_text("{}")
    _write_plda(torch, embedding, community / "plda")
    shared = {"segmentation_batch_size": 32, "embedding_batch_size": 32, "embedding_exclude_overlap": True}
    told: dict[str, Any] = {
        "version": "4.0.7",
        "pipeline": {
            "name": "pyannote.audio.pipelines.SpeakerDiarization",
            "params": {
                "clustering": "VBxClustering",
                "segmentation": "$model/segmentation",
                "embedding": "$model/embedding",
                "plda": "$model/plda",
                **shared,
            },
        },
        "params": {"clustering": {"threshold": 0.8, "Fa": 0.07, "Fb": 0.8}, "segmentation": {"min_duration_off": 0.0}},
    }
    (community / "config.yaml").write_text(yaml.safe_dump(told))
    told["version"] = "3.1.0"
    told["pipeline"]["params"] = {
        "clustering": "AgglomerativeClustering",
        "segmentation": "pyannote/segmentation-3.0",
        "embedding": "pyannote/wespeaker-voxceleb-resnet34-LM",
        **shared,
    }
    told["params"]["clustering"] = {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799}
    older.mkdir(parents=True, exist_ok=True)
    (older / "config.yaml").write_text(yaml.safe_dump(told))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
