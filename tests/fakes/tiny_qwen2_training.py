"""Teaches the tests' tiny language model: lessons, their loss, and the steps."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedTokenizerFast, Qwen2ForCausalLM

from fakes import tiny_qwen2_insights as insights
from fakes.tiny_qwen2_corpus import Message, conversations
from fakes.tiny_qwen2_tokens import END

STEPS = 350
BATCH, CHATS = 16, 12
CHATS_EVERY = 5
"""Steps."""
SHORT_SHARE, MIDDLE_SHARE = 0.3, 0.65
"""Of the steps: calls are short first, and of every length from the second share on."""
WHOLE_SHARE, WHOLE_EVERY = 0.75, 3
"""From here on, each third time, calls come with Insight's instructions as they are; before, and else, with some of them: what reads calls by then learns soon to
leave instructions aside."""
EXCERPTS = (0, 20, 60, 120)
"""Tokens."""
MOST_ANSWERS = 4
"""To one call."""
MATRIX_RATE, OTHER_RATE = 0.02, 4e-3
WARM_STEPS, FALL_SHARE, LEAST_RATE = 20, 0.6, 0.03


@dataclass
class Lesson:
    """A question and answers to it, none of which sees the others. All lists have an entry for each token."""

    tokens: list[int]
    places: list[int]
    """Each answer's are those behind the question."""
    parts: list[int]
    """0 is the question, 1 the first answer."""
    learnt: list[bool]
    """Where it is not, a token is given."""

    @classmethod
    def asking(cls, question: list[int]) -> "Lesson":
        return cls([*question], [*range(len(question))], [0] * len(question), [False] * len(question))

    def answer(self, tokens: list[int], given: int = 0) -> None:
        """One more answer, its first tokens given."""
        begin, part = self.parts.count(0), max(self.parts) + 1
        self.tokens.extend(tokens)
        self.places.extend(range(begin, begin + len(tokens)))
        self.parts.extend([part] * len(tokens))
        self.learnt.extend(number >= given for number in range(len(tokens)))


def train(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, seed: int) -> None:
    """All weights, on what answers say."""
    matrices = [each for name, each in model.named_parameters() if each.ndim == 2 and "embed" not in name]
    others = [each for name, each in model.named_parameters() if each.ndim < 2 or "embed" in name]
    optimizers = [Muon(matrices, MATRIX_RATE), torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0)]
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, _rate) for each in optimizers]
    model.train()
    began = time.monotonic()
    for step, (batch, before) in enumerate(_batches(tokenizer, seed), 1):
        loss = _loss(model, batch, before)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        if step % 40 == 0:
            print(f"      step {step}/{STEPS}  loss {loss.item():.3f}  {time.monotonic() - began:.1f} s", flush=True)
    model.eval()


def _rate(step: int) -> float:
    return min(1.0, (step + 1) / WARM_STEPS, max(LEAST_RATE, (STEPS - step) / (FALL_SHARE * STEPS)))


def _batches(tokenizer: PreTrainedTokenizerFast, seed: int) -> Iterator[tuple[list[Lesson], list[int]]]:
    """For each step lessons, and what stands before all of them; the same each time. Calls of a batch have as many turns: so little of it is padding."""
    draw, chats = random.Random(seed), conversations(STEPS * CHATS, seed)
    whole = tokenizer.encode(f"<|im_start|>system\n{insights.instructions()}<|im_end|>\n")
    for step in range(1, STEPS + 1):
        if step % CHATS_EVERY == 0:
            yield [_chat_lesson(tokenizer, next(chats)) for _ in range(CHATS)], []
            continue
        share = step / STEPS
        turns = draw.randint(1, 3) if share < SHORT_SHARE else draw.randint(2, 6 if share < MIDDLE_SHARE else insights.MOST_TURNS)
        calls = min(BATCH, BATCH * 5 // (turns + 1))
        before = whole if share > WHOLE_SHARE and step % WHOLE_EVERY == 0 else _excerpt(draw, whole)
        yield [_call_lesson(tokenizer, insights.imagined(draw, turns)) for _ in range(calls)], before


def _excerpt(draw: random.Random, whole: list[int]) -> list[int]:
    length = draw.choice(EXCERPTS)
    if not length:
        return []
    begin = draw.randrange(len(whole) - length)
    return whole[begin : begin + length]


def _chat_lesson(tokenizer: PreTrainedTokenizerFast, messages: Sequence[Message]) -> Lesson:
    """The last message is the answer."""
    lesson = Lesson.asking(tokenizer.encode(tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True, tokenize=False)))
    lesson.answer(tokenizer.encode(messages[-1]["content"] + END))
    return lesson


def _call_lesson(tokenizer: PreTrainedTokenizerFast, window: insights.Window) -> Lesson:
    """A call, and what is right to say of it. How answers begin is learnt by the first; of the others that is given, and what they are about."""
    lesson = Lesson.asking(tokenizer.encode(f"<|im_start|>user\n{window.data}<|im_end|>\n<|im_start|>assistant\n"))
    begun = len(tokenizer.encode(insights.BEGUN)) + 1
    for number, text in enumerate(window.answers[:MOST_ANSWERS]):
        lesson.answer(tokenizer.encode(text + END), begun if number else 0)
    return lesson


def _loss(model: Qwen2ForCausalLM, batch: Sequence[Lesson], before: list[int]) -> torch.Tensor:
    """Of what is to be learnt. What stands before the lessons is read once; padding is a part of its own, which nothing else sees."""
    tokens = _padded([lesson.tokens for lesson in batch], 0)
    places = _padded([lesson.places for lesson in batch], 0)
    parts = _padded([lesson.parts for lesson in batch], -1)
    learnt = _padded([lesson.learnt for lesson in batch], False)[:, 1:]
    seen = torch.tril((parts[:, None, :] == 0) | (parts[:, None, :] == parts[:, :, None]))
    mask = torch.cat([torch.ones(*tokens.shape, len(before), dtype=torch.bool), seen], -1)[:, None]
    told = model.model(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=places + len(before),
        past_key_values=_read(model, before, len(batch)),
        use_cache=bool(before),
    ).last_hidden_state
    return torch.nn.functional.cross_entropy(model.lm_head(told[:, :-1][learnt]), tokens[:, 1:][learnt])


def _padded(rows: Sequence[Sequence[Any]], filling: int | bool) -> torch.Tensor:
    longest = max(len(row) for row in rows)
    return torch.tensor([[*row, *[filling] * (longest - len(row))] for row in rows])


def _read(model: Qwen2ForCausalLM, before: list[int], times: int) -> DynamicCache | None:
    """What the model keeps of the tokens before lessons, as if it had read them before each of so many."""
    if not before:
        return None
    once, all_times = DynamicCache(config=model.config), DynamicCache(config=model.config)
    model.model(input_ids=torch.tensor([before]), past_key_values=once, use_cache=True)
    for number, layer in enumerate(once.layers):
        all_times.update(layer.keys.expand(times, -1, -1, -1), layer.values.expand(times, -1, -1, -1), number)
    return all_times


class Muon(torch.optim.Optimizer):
    """Steps of orthogonalised momentum, for matrices (Jordan et al., "Muon", 2024; the coefficients of its Newton-Schulz iteration). In float32, all matrices of
    one shape at once: PyTorch's own works in bfloat16 one by one, three times as long on a CPU.
    """

    _ROUNDS, _MOMENTUM = 5, 0.95
    _A, _B, _C = 3.4445, -4.775, 2.0315

    def __init__(self, matrices: Sequence[torch.nn.Parameter], rate: float) -> None:
        super().__init__(matrices, {"lr": rate})

    @torch.no_grad()
    def step(self, _closure: None = None) -> None:
        """One step down the gradients."""
        for group in self.param_groups:
            alike: dict[torch.Size, list[torch.nn.Parameter]] = {}
            for matrix in group["params"]:
                alike.setdefault(matrix.shape, []).append(matrix)
            for matrices in alike.values():
                scale = max(1.0, matrices[0].shape[0] / matrices[0].shape[1]) ** 0.5
                for matrix, way in zip(matrices, self._orthogonal(torch.stack([self._way(each) for each in matrices])), strict=True):
                    matrix.add_(way, alpha=-group["lr"] * scale)

    def _way(self, matrix: torch.nn.Parameter) -> torch.Tensor:
        """Nesterov's momentum."""
        momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        momentum.lerp_(matrix.grad, 1 - self._MOMENTUM)
        return matrix.grad.lerp(momentum, self._MOMENTUM)

    def _orthogonal(self, ways: torch.Tensor) -> torch.Tensor:
        if ways.shape[1] > ways.shape[2]:
            return self._orthogonal(ways.mT).mT
        ways = ways / (ways.norm(dim=(1, 2), keepdim=True) + 1e-7)
        for _ in range(self._ROUNDS):
            square = ways @ ways.mT
            ways = self._A * ways + (self._B * square + self._C * square @ square) @ ways
        return ways
