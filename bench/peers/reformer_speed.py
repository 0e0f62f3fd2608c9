#!/usr/bin/env python3
"""Hugging Face's Reformer beside longspan's: time and memory of a forward pass and of a step.

usage: reformer_speed.py PROGRAM [--size base|small] [--tokens 16384] [--layers N] [--steps 3]
                         [--pairs 2] [--threads N] [--dtype f32 bf16] [--step forward train]
                         [--cast autocast|weights] [--memory SIZE] [--json FILE]

Needs an environment with torch and transformers, some gigabytes on a disk:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
Run it on an idle machine with a release build.

Both get one config.json: ReformerModelWithLMHead, local and LSH layers in turn, chunks of 64, one
round, bytes, dropout 0, random weights, one row of random tokens.
  forward  the loss in evaluation mode, without gradients
  train    forward, backward and AdamW's update, for both: reversible, so both compute layers again
bf16 of Hugging Face is torch.autocast over fp32 weights, as longspan's masters are. `--memory 4G`
lets longspan keep activations as far as they fit. How they take turns: turns.py.
Prints a table and, with --json, writes all figures.
"""
import turns

# hidden, heads, layers
SIZES = {"small": (256, 4, 2), "base": (512, 8, 6)}


def config(size, tokens, layers=None):
    hidden, heads, own_layers = SIZES[size]
    layers = layers or own_layers  # an even number
    rows = 128
    while rows * rows < tokens:
        rows *= 2
    columns = -(-tokens // rows)
    if rows * columns != tokens:
        raise SystemExit(f"Hugging Face trains on {rows} x N tokens only, not on {tokens}")
    return {"model_type": "reformer", "architectures": ["ReformerModelWithLMHead"],
            "vocab_size": 258, "hidden_size": hidden, "num_attention_heads": heads,
            "attention_head_size": hidden // heads, "num_hidden_layers": layers,
            "attn_layers": ["local", "lsh"] * (layers // 2), "feed_forward_size": 4 * hidden,
            "axial_pos_embds": True, "axial_pos_shape": [rows, columns],
            "axial_pos_embds_dim": [hidden // 4, hidden - hidden // 4],
            "max_position_embeddings": tokens, "is_decoder": True, "num_hashes": 1,
            "lsh_attn_chunk_length": 64, "local_attn_chunk_length": 64, "hidden_act": "relu",
            "hidden_dropout_prob": 0.0, "lsh_attention_probs_dropout_prob": 0.0,
            "local_attention_probs_dropout_prob": 0.0, "hash_seed": None, "num_buckets": None,
            "pad_token_id": 0, "eos_token_id": 2, "tie_word_embeddings": False}


def build(folder, options, torch, transformers):
    settings = transformers.ReformerConfig.from_pretrained(folder)
    ids = torch.randint(2, settings.vocab_size, (1, options.tokens))
    return (transformers.ReformerModelWithLMHead(settings),
            {"input_ids": ids, "labels": ids, "use_cache": False})


if __name__ == "__main__":
    turns.main(__doc__, turns.Model("Reformer", list(SIZES), 16384, config, build,
                                    check=False))  # each hashes with rotations of its own
