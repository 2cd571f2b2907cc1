"""Run by the Python of the engine's venv: what resemblyzer itself, on PyTorch, makes of windows of speech.

``python resemblyzer_torch.py IN.npz OUT.npz``: arrays of int16 samples in; for each, the mel frames and the print out.
"""

import sys

import numpy as np
import torch
from resemblyzer import VoiceEncoder
from resemblyzer.audio import normalize_volume, wav_to_mel_spectrogram

torch.set_num_threads(1)
encoder = VoiceEncoder("cpu", verbose=False)
found = {}
with np.load(sys.argv[1]) as windows, torch.no_grad():
    for name, samples in windows.items():
        mel = wav_to_mel_spectrogram(normalize_volume(samples.astype(np.float32) / 32768, -30, increase_only=True))
        found[f"mel-{name}"] = mel
        found[f"print-{name}"] = encoder(torch.from_numpy(mel)[None])[0].numpy()
np.savez(sys.argv[2], **found)
