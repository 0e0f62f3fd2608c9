"""Tiny models of transformers, and how two of them are compared."""

from __future__ import annotations

import copy
from typing import Any

import transformers

import longspan.hf

OUTPUT, GRADIENT = 4e-6, 2e-6  # float32; gradients as shares of the model's largest


def longformer_config(**changes: Any) -> Any:
    return transformers.LongformerConfig(**{
        "vocab_size": 100, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 37, "attention_window": [8, 4], "max_position_embeddings": 200,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "sep_token_id": 2,
        **changes})


def led_config(**changes: Any) -> Any:
    return transformers.LEDConfig(**{
        "vocab_size": 100, "d_model": 32, "encoder_layers": 2, "decoder_layers": 1,
        "encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_ffn_dim": 37,
        "decoder_ffn_dim": 37, "attention_window": 8, "dropout": 0.0, "attention_dropout": 0.0,
        "activation_dropout": 0.0, "max_encoder_position_embeddings": 128,
        "max_decoder_position_embeddings": 64, **changes})


def reformer_config(**changes: Any) -> Any:
    return transformers.ReformerConfig(**{
        "vocab_size": 60, "hidden_size": 32, "attn_layers": ["lsh", "local", "lsh"],
        "num_attention_heads": 2, "attention_head_size": 16, "feed_forward_size": 40,
        "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16], "max_position_embeddings": 128,
        "lsh_attn_chunk_length": 8, "local_attn_chunk_length": 8, "num_hashes": 2, "num_buckets": 8,
        "hash_seed": 3, "hidden_dropout_prob": 0.0, "lsh_attention_probs_dropout_prob": 0.0,
        "local_attention_probs_dropout_prob": 0.0, "is_decoder": True, "pad_token_id": 0,
        "eos_token_id": None, **changes})


def pair(model: Any) -> tuple[Any, Any]:
    """A model, and an accelerated copy of it."""
    return model, longspan.hf.accelerate(copy.deepcopy(model))


def far(a: Any, b: Any) -> float:
    assert a.shape == b.shape and a.dtype == b.dtype, (a.shape, b.shape)
    return float((a.detach() - b.detach()).abs().max())


def gradients_far(original: Any, model: Any) -> float:
    """The largest difference of gradients, as a share of the largest gradient."""
    pairs = [(p.grad, q.grad) for p, q in zip(original.parameters(), model.parameters())]
    assert any(p is not None for p, _ in pairs)
    most = max(float(p.abs().max()) for p, _ in pairs if p is not None)
    return max(float(((0 if p is None else p) - (0 if q is None else q)).abs().max())
               for p, q in pairs if p is not None or q is not None) / most


def attentions(model: Any) -> list[Any]:
    return [module for module in model.modules() if type(module).__name__ in (
        "LongformerSelfAttention", "LEDEncoderSelfAttention", "LSHSelfAttention",
        "LocalSelfAttention")]
