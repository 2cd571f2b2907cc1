"""The vocabulary of the tests' tiny language model: whole words, and what stands around a value of JSON as one token, so that prompts and answers are short."""

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from fakes import tiny_qwen2_insights as insights
from fakes.tiny_qwen2_corpus import conversations, lines

VOCABULARY = 2048
"""At most: words are not joined."""
POSITIONS = 8192
END, START, PAD = "<|im_end|>", "<|im_start|>", "<|endoftext|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_PIECES = r" ?[\p{L}\p{M}]+| ?\p{N}+(?:\.\p{N}+)?| ?[^\p{L}\p{N}\s]+|\s+"
"""Words, numbers, marks, white space. Marks of JSON and the names between them are tokens of their own: a schema leads the model through them so."""


def make_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE, so that any text has tokens, with Qwen's chat marks."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(seed), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END, pad_token=PAD, additional_special_tokens=[START], model_max_length=POSITIONS
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _texts(seed: int) -> Iterator[str]:
    """All that is taught, what it is asked for with, and what it will be asked about. What comes once is no pair yet."""
    draw = random.Random(seed)
    yield from ("user", "assistant", "system") * 3
    for messages in conversations(240, seed):
        yield from lines(messages)
    for window in (insights.imagined(draw, 8) for _ in range(150)):
        yield window.data
        yield from window.answers
    yield from [insights.instructions()] * 2
    yield from (window.data for window in insights.real())
