"""Makes the tests' language model: a Qwen2 of less than a million weights that answers in Portuguese, and its AWQ INT4 form. About two minutes on one core.

    PYTHONPATH=tests .venvs/vllm/bin/python -m fakes.tiny_qwen2 DIRECTORY

writes ``DIRECTORY/tiny-qwen2`` and ``DIRECTORY/tiny-qwen2-awq``, whole or not at all. Needs the environment of ``make vllm-test-server``.
"""

import math
import os
import random
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar

from fakes import tiny_qwen2_insights as insights
from fakes.tiny_qwen2_awq import write_awq
from fakes.tiny_qwen2_corpus import CHAT_PROMPT, JSON_PROMPT, TOPICS, Message
from fakes.tiny_qwen2_start import starting_model
from fakes.tiny_qwen2_tokens import POSITIONS, make_tokenizer
from fakes.tiny_qwen2_training import train

SEED = 7
CHECKED_CALLS = 24
LEAST_RIGHT = 0.75
"""Of the answers about calls that were not taught: those imagined, and the one of `malha bench insight`."""


def make(directory: Path) -> None:
    """Both models, each renamed to its name when it is complete."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    disable_progress_bar()
    tokenizer = make_tokenizer(SEED)
    model = starting_model(configuration(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    train(model, tokenizer, SEED)
    model.to(torch.bfloat16).float()  # as it is saved
    check_chat(model, tokenizer)
    check_insights(model, tokenizer)
    plain, packed = directory / "tiny-qwen2", directory / "tiny-qwen2-awq"
    draft = directory / f".draft-{os.getpid()}"
    try:
        model.to(torch.bfloat16).save_pretrained(draft / plain.name)
        tokenizer.save_pretrained(draft / plain.name)
        write_awq(draft / plain.name, draft / packed.name)
        for place in (plain, packed):
            shutil.rmtree(place, ignore_errors=True)
            (draft / place.name).rename(place)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def configuration(tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    """Widths are multiples of what vLLM's INT4 kernels take; the vocabulary is padded to them."""
    return Qwen2Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_theta": 1e6, "rope_type": "default"},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def check_chat(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raises SystemExit for a model that has not learned its answers, in sentences or in JSON."""
    said = [f"Bom dia, {topic.said[0]}." for topic in TOPICS]
    asked = [_prompt(tokenizer, CHAT_PROMPT, text) for text in said]
    asked += [_prompt(tokenizer, JSON_PROMPT, insights.compact([{"id": "s1", "role": "CUSTOMER", "text": text}])) for text in said]
    answers = _generate(model, tokenizer, asked)
    for topic, answer in zip(TOPICS, answers[: len(TOPICS)], strict=True):
        if answer != topic.answer:
            sys.exit(f"the tiny model has not learned its answers: {answer!r} instead of {topic.answer!r}")
    right = sum(f'"message":"{topic.insight}"' in answer for topic, answer in zip(TOPICS, answers[len(TOPICS) :], strict=True))
    print(f"      {right} of {len(TOPICS)} answers in JSON are right", flush=True)
    if right < LEAST_RIGHT * len(TOPICS):
        sys.exit("the tiny model has not learned to answer in JSON")


def check_insights(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raises SystemExit for a model that does not read calls it does not know."""
    draw = random.Random(SEED + 1)
    imagined = [insights.imagined(draw, 2 + number % (insights.MOST_TURNS - 1)) for number in range(CHECKED_CALLS)]
    for windows in (imagined, list(insights.real())):
        asked = [_prompt(tokenizer, insights.instructions(), window.data) for window in windows]
        answers = _generate(model, tokenizer, asked)
        right = sum(answer in window.answers for answer, window in zip(answers, windows, strict=True))
        print(f"      {right} of {len(windows)} answers about calls it does not know are right", flush=True)
        if right < LEAST_RIGHT * len(windows):
            sys.exit("the tiny model has not learned to read calls")


def _prompt(tokenizer: PreTrainedTokenizerFast, system: str, user: str) -> str:
    messages: list[Message] = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def _generate(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> list[str]:
    """What it answers to each, as the likeliest goes."""
    given = tokenizer(list(prompts), padding=True, padding_side="left", return_tensors="pt")
    with torch.inference_mode():
        tokens = model.generate(**given, max_new_tokens=60, do_sample=False)[:, given["input_ids"].shape[1] :]
    return [str(text) for text in tokenizer.batch_decode(tokens, skip_special_tokens=True)]


if __name__ == "__main__":
    make(Path(sys.argv[1]))
