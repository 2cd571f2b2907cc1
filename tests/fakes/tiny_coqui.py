"""Makes the tests' speech models: a VITS and an XTTS of random weights, which speak noise by the real code. A few seconds on one core.

    PYTHONPATH=tests .venvs/coqui/bin/python -m fakes.tiny_coqui DIRECTORY

writes ``DIRECTORY/tiny-vits`` and ``DIRECTORY/tiny-xtts``. Needs the environment of ``make engine-coqui``.
"""

import sys
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from TTS.tts.configs.shared_configs import CharactersConfig
from TTS.tts.configs.vits_config import VitsConfig
from TTS.tts.configs.xtts_config import XttsConfig
from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
from TTS.tts.models.vits import Vits, VitsArgs
from TTS.tts.models.xtts import Xtts, XttsArgs, XttsAudioConfig

LETTERS = "abcdefghijklmnopqrstuvwxyzáàâãéêíóôõúçñü"
PUNCTUATION = " !?.,;:-'"
LANGUAGES = ("en", "es", "fr", "de", "it", "pt", "pl", "zh-cn", "ar", "cs", "ru", "nl", "tr", "ja", "hu", "ko")
VOICES = ("Ana Florence", "Luís Moray")
WIDTH = 64


def write_vits(directory: Path) -> None:
    """One voice, letters as they are."""
    directory.mkdir(parents=True, exist_ok=True)
    characters = CharactersConfig(
        characters_class="TTS.tts.models.vits.VitsCharacters",
        pad="_",
        eos="",
        bos="",
        blank="",
        characters=LETTERS,
        punctuations=PUNCTUATION,
    )
    arguments = VitsArgs(
        num_chars=60,
        hidden_channels=16,
        hidden_channels_ffn_text_encoder=32,
        num_heads_text_encoder=2,
        num_layers_text_encoder=1,
        num_layers_flow=1,
        num_layers_posterior_encoder=1,
        upsample_initial_channel_decoder=32,
        use_sdp=False,
        inference_noise_scale=0.3,
        init_discriminator=False,
    )
    config = VitsConfig(model_args=arguments, characters=characters, use_phonemes=False, text_cleaner="multilingual_cleaners")
    model = Vits(config)
    with torch.no_grad():  # untrained, it gives each letter one frame, whatever the pace: have it give about eight
        model.duration_predictor.proj.bias.fill_(2.0)
    torch.save({"model": model.state_dict()}, directory / "model.pth")
    config.save_json(str(directory / "config.json"))


def write_xtts(directory: Path) -> None:
    """All languages of XTTS-v2, two voices of its own."""
    directory.mkdir(parents=True, exist_ok=True)
    _write_vocabulary(directory / "vocab.json")
    arguments = XttsArgs(
        gpt_layers=1,
        gpt_n_model_channels=WIDTH,
        gpt_n_heads=2,
        gpt_num_audio_tokens=66,
        gpt_start_audio_token=64,
        gpt_stop_audio_token=65,
        gpt_max_audio_tokens=32,
        gpt_max_text_tokens=60,
        gpt_use_perceiver_resampler=True,
        decoder_input_dim=WIDTH,
    )
    config = XttsConfig(model_args=arguments, audio=XttsAudioConfig())
    model = Xtts(config)
    model.tokenizer = VoiceBpeTokenizer(vocab_file=str(directory / "vocab.json"))
    model.init_models()  # the tokenizer tells how many tokens there are: without it there would be no GPT
    torch.save({"model": model.state_dict()}, directory / "model.pth")
    torch.save({name: _timbre() for name in VOICES}, directory / "speakers_xtts.pth")
    config.save_json(str(directory / "config.json"))


def _timbre() -> dict[str, torch.Tensor]:
    embedding = torch.nn.functional.normalize(torch.randn(1, 512), dim=1).unsqueeze(-1)
    return {"gpt_cond_latent": torch.randn(1, 32, WIDTH), "speaker_embedding": embedding}


def _write_vocabulary(file: Path) -> None:
    special = ["[STOP]", "[UNK]", "[SPACE]", *(f"[{language}]" for language in LANGUAGES), "[START]"]
    names = [*special, *LETTERS, *"!?.,;:'-¿¡0123456789"]
    tokenizer = Tokenizer(models.BPE(vocab={name: number for number, name in enumerate(names)}, merges=[], unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(file))


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.manual_seed(0)
    write_vits(Path(sys.argv[1]) / "tiny-vits")
    write_xtts(Path(sys.argv[1]) / "tiny-xtts")
