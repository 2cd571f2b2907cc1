"""What the tests' tiny language model can do before it is taught: find where a token was read before, and what came after it.

Such heads are what a small transformer takes longest to find by itself (Olsson et al., "In-context Learning and Induction Heads", 2022), and quoting is made of
them. Here they are laid out in its first weights, two in all; teaching does the rest, in minutes where it would take hours.
"""

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

_NORM = 3.0
"""Of the last norm: logits reach far enough from the first step on."""
_WRITTEN = 0.03
"""What a head adds is about as large as an embedding."""
_BACK = 6.0
"""In the biases of query and key: how much a head looks at one distance."""
_ALIKE = 2.0
"""How much a head looks at tokens that are alike."""


def starting_model(config: Qwen2Config) -> Qwen2ForCausalLM:
    """A model of two layers or more; what is not laid out is drawn at random."""
    model = Qwen2ForCausalLM(config)
    with torch.no_grad():
        model.model.norm.weight.fill_(_NORM)
        _lay_out(model)
    return model


def _lay_out(model: Qwen2ForCausalLM) -> None:
    """The first head of the first layer tells each token which one was before it; that of the second looks for tokens told so of the one being read."""
    config = model.config
    width = config.hidden_size
    size = width // config.num_attention_heads
    half = size // 2
    turns = config.rope_parameters["rope_theta"] ** (-torch.arange(half) / half)
    quick = torch.where(torch.arange(half) < half // 4, _BACK, 0.0)
    still = [*range(half // 2, half), *range(half + half // 2, size)]  # what RoPE hardly turns within a call
    shown, noted = (torch.linalg.qr(torch.randn(width, width))[0] for _ in range(2))
    token, before, after = shown[: len(still)], noted[:, : len(still)], noted[:, width - size :]

    first, second = (layer.self_attn for layer in model.model.layers[:2])
    # RoPE turns query and key by their places: they agree where the key was turned by one place less
    first.q_proj.bias[:half], first.q_proj.bias[half:size] = quick, 0.0
    first.k_proj.bias[:half], first.k_proj.bias[half:size] = quick * torch.cos(turns), quick * torch.sin(turns)
    first.v_proj.weight[:size], first.o_proj.weight[:, :size] = 0.0, 0.0
    first.v_proj.weight[: len(still)], first.o_proj.weight[:, : len(still)] = token, _WRITTEN * before
    second.q_proj.weight[:size], second.k_proj.weight[:size] = 0.0, 0.0
    second.q_proj.weight[still], second.k_proj.weight[still] = _ALIKE * token, _ALIKE * before.T
    second.v_proj.weight[:size], second.o_proj.weight[:, :size] = after.T, _WRITTEN * after
