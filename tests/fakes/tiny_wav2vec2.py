"""A tiny wav2vec 2.0 that knows six letters, each a tone: real weights, taught in seconds. Run by the environment that has torch and transformers:

python tiny_wav2vec2.py DIRECTORY
"""

import json
import sys
from pathlib import Path

import numpy as np

RATE = 16_000
VOCABULARY = {"<pad>": 0, "|": 1, "a": 2, "e": 3, "m": 4, "o": 5, "r": 6, "s": 7}
LETTER_SECONDS, GAP_SECONDS = 0.2, 0.1
STEPS = 80


def sing(text: str, *, seed: int = 0, pauses: float = 0.0) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """Samples in -1..1 and when each word sounds; ``pauses``: seconds of quiet before each word."""
    random = np.random.default_rng(seed)
    pieces, words, at = [], [], 0.0
    for word in text.split():
        quiet = np.zeros(int((GAP_SECONDS + pauses) * RATE))
        time = np.arange(int(LETTER_SECONDS * RATE)) / RATE
        letters = [np.sin(2 * np.pi * 250 * VOCABULARY[letter] * time) * 0.3 * np.hanning(len(time)) ** 0.25 for letter in word]
        begin = at + len(quiet) / RATE
        at = begin + len(word) * LETTER_SECONDS
        words.append((begin, at))
        pieces += [quiet, *letters]
    samples = np.concatenate([*pieces, np.zeros(int(0.3 * RATE))])
    return samples + random.standard_normal(len(samples)) * 0.005, words


def _labels(text: str, frames: int, stride: int) -> np.ndarray:
    """What each frame is of."""
    labels, at = np.ones(frames, np.int64), 0.0  # the delimiter, in gaps
    for word in text.split():
        at += GAP_SECONDS
        for letter in word:
            labels[int(at * RATE / stride) : int((at + LETTER_SECONDS) * RATE / stride)] = VOCABULARY[letter]
            at += LETTER_SECONDS
    return labels


def teach(directory: Path) -> None:
    import torch
    import transformers

    torch.set_num_threads(1)  # more of them wait for one another
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(VOCABULARY),
        pad_token_id=0,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        conv_dim=(32,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        mask_time_prob=0.0,
        apply_spec_augment=False,
    )
    model = transformers.Wav2Vec2ForCTC(config).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        text = " ".join("".join(random.choice(list("aemors"), random.integers(1, 5))) for _ in range(5))
        samples, _ = sing(text, seed=step)
        normal = (samples - samples.mean()) / np.sqrt(samples.var() + 1e-7)
        logits = model(torch.tensor(normal, dtype=torch.float32)[None]).logits[0]
        labels = torch.from_numpy(_labels(text, len(logits), 320))
        loss = torch.nn.functional.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.3f}")
    model.save_pretrained(directory)
    (directory / "vocab.json").write_text(json.dumps(VOCABULARY))
    (directory / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": RATE}))


if __name__ == "__main__":
    teach(Path(sys.argv[1]))
