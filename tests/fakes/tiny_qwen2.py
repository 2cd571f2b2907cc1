"""Makes the tests' language model: a Qwen2 of half a million weights that answers in Portuguese, and its AWQ INT4 form. About 20 s on one core.

    .venvs/vllm/bin/python tests/fakes/tiny_qwen2.py DIRECTORY

writes ``DIRECTORY/tiny-qwen2`` and ``DIRECTORY/tiny-qwen2-awq``, whole or not at all. Needs the environment of ``make vllm-test-server``.
"""

import math
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "OMP_NUM_THREADS": "1"}

import torch
from tiny_qwen2_awq import write_awq
from tiny_qwen2_corpus import CHAT_PROMPT, TOPICS, Message, conversations, lines
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar

SEED = 7
CONVERSATIONS = 240
STEPS = 240
BATCH = 8
VOCABULARY = 1024
POSITIONS = 8192
END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def make(directory: Path) -> None:
    """Both models, each renamed to its name when it is complete."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    disable_progress_bar()
    taught = list(conversations(CONVERSATIONS, SEED))
    tokenizer = make_tokenizer([text for messages in taught for text in lines(messages)])
    model = Qwen2ForCausalLM(configuration(tokenizer))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    train(model, tokenizer, taught)
    check(model, tokenizer)
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


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text has tokens, with Qwen's chat marks."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, additional_special_tokens=[START], model_max_length=POSITIONS
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def configuration(tokenizer: PreTrainedTokenizerFast) -> Qwen2Config:
    """Widths are multiples of what vLLM's INT4 kernels take; the vocabulary is padded to them."""
    return Qwen2Config(
        vocab_size=math.ceil(len(tokenizer) / 64) * 64,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def train(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, taught: Sequence[Sequence[Message]]) -> None:
    """All weights, on whole conversations."""
    examples = [torch.tensor(tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)) for messages in taught]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=STEPS)
    model.train()
    began = time.monotonic()
    for step, batch in zip(range(1, STEPS + 1), _batches(examples), strict=False):
        tokens = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=tokenizer.pad_token_id)
        mask = torch.arange(tokens.shape[1])[None] < torch.tensor([len(example) for example in batch])[:, None]
        loss = model(input_ids=tokens, attention_mask=mask.long(), labels=tokens.masked_fill(~mask, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 60 == 0:
            print(f"      step {step}/{STEPS}  loss {loss.item():.3f}  {time.monotonic() - began:.1f} s", flush=True)
    model.eval()


def _batches(examples: Sequence[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Without end, in an order that the seed decides."""
    while True:
        order = torch.randperm(len(examples)).tolist()
        for start in range(0, len(order), BATCH):
            yield [examples[index] for index in order[start : start + BATCH]]


def check(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast) -> None:
    """Raises SystemExit for a model that has not learned its answers."""
    for topic in TOPICS:
        messages = [{"role": "system", "content": CHAT_PROMPT}, {"role": "user", "content": f"Bom dia, {topic.said[0]}."}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        with torch.inference_mode():
            tokens = model.generate(**prompt, max_new_tokens=60, do_sample=False)[0][prompt["input_ids"].shape[1] :]
        answer = tokenizer.decode(tokens, skip_special_tokens=True)
        if answer != topic.answer:
            sys.exit(f"the tiny model has not learned its answers: {answer!r} instead of {topic.answer!r}")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
