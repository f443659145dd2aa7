"""The model as `LlamaForCausalLM` of transformers, in the handwritten loop:  llama.py eager|compiled bf16|fp32"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from common import DEPTH, DIM, EPS, HEADS, HIDDEN, KV_HEADS, SEQUENCE, THETA, VOCAB, start_values
from handwritten import arguments, train
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

PARTS = {
    "attention_norm": "input_layernorm",
    "self_attention.query": "self_attn.q_proj",
    "self_attention.key": "self_attn.k_proj",
    "self_attention.value": "self_attn.v_proj",
    "self_attention.output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "swiglu.gate": "mlp.gate_proj",
    "swiglu.up": "mlp.up_proj",
    "swiglu.down": "mlp.down_proj",
}


class WithLoss(nn.Module):
    """The loss as the other contestants compute it; the library's own would shift the targets once more."""

    def __init__(self) -> None:
        super().__init__()
        self.model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB,
                hidden_size=DIM,
                intermediate_size=HIDDEN,
                num_hidden_layers=DEPTH,
                num_attention_heads=HEADS,
                num_key_value_heads=KV_HEADS,
                max_position_embeddings=SEQUENCE,
                rms_norm_eps=EPS,
                rope_parameters={"rope_type": "default", "rope_theta": THETA},
                tie_word_embeddings=False,
                use_cache=False,
                attn_implementation="sdpa",
            )
        )

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        logits = self.model(input_ids=tokens, use_cache=False).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def load(model: WithLoss) -> None:
    """The start values that all contestants have."""
    values = start_values()
    own = {"model.embed_tokens.weight": values["embedding.weight"], "model.norm.weight": values["rms_norm.weight"]}
    own["lm_head.weight"] = values["linear.weight"]
    for i in range(DEPTH):
        for ours, theirs in PARTS.items():
            own[f"model.layers.{i}.{theirs}.weight"] = values[f"layers.{i}.{ours}.weight"]
    model.model.load_state_dict(own)


if __name__ == "__main__":
    name, compiled, precision = arguments()
    torch.manual_seed(0)
    llama = WithLoss()
    load(llama)
    train(f"transformers {name}", llama, compiled, precision)
