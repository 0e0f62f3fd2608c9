#!/usr/bin/env python3
"""Hugging Face's ModernBERT beside longspan's: time and memory of a forward pass and of a step.

usage: modernbert_speed.py PROGRAM [--size tiny|small|base|large] [--tokens 8192] [--layers N]
                           [--steps 3] [--pairs 2] [--threads N] [--dtype f32 bf16]
                           [--step forward train] [--cast autocast|weights] [--memory SIZE]
                           [--json FILE]

Needs an environment with torch and transformers, some gigabytes on a disk:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
Run it on an idle machine with a release build; a base-size step takes 10 to 20 GB. Where time or
memory is short, `--layers 4 --tokens 2048 --steps 1` has both kinds of layers.

Both get one config.json: ModernBertForMaskedLM of that size without dropout, random weights, one
row of random tokens, labels on 15 % of them. Hugging Face's attention is SDPA, its default on a
CPU, and its head sees labelled tokens only (sparse_prediction), as longspan's does.
  forward  the loss in evaluation mode, without gradients
  train    forward, backward and AdamW's update, for both
Loss and gradients of a short row are compared before anything is timed.
bf16 of Hugging Face is torch.autocast over fp32 weights, as longspan's masters are; `--cast
weights` makes the weights themselves bf16, which saves memory and loses small updates. `--memory
3G` makes longspan compute layers again as far as that demands. How they take turns: turns.py.
Prints a table and, with --json, writes all figures.
"""
import turns

# hidden, feed-forward, heads, layers
SIZES = {"tiny": (128, 192, 2, 4), "small": (256, 384, 4, 7), "large": (1024, 2624, 16, 28),
         "base": (768, 1152, 12, 22)}
LABELLED = 0.15


def config(size, tokens, layers=None):
    hidden, inner, heads, own_layers = SIZES[size]
    return {"model_type": "modernbert", "architectures": ["ModernBertForMaskedLM"],
            "vocab_size": 50368, "hidden_size": hidden, "intermediate_size": inner,
            "num_attention_heads": heads, "num_hidden_layers": layers or own_layers,
            "max_position_embeddings": max(8192, tokens), "global_attn_every_n_layers": 3,
            "local_attention": 128, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0,
            "sparse_prediction": True, "pad_token_id": 50283, "bos_token_id": 50281,
            "eos_token_id": 50282, "cls_token_id": 50281, "sep_token_id": 50282}


def build(folder, options, torch, transformers):
    settings = transformers.ModernBertConfig.from_pretrained(folder)
    ids = torch.randint(3, 50000, (1, options.tokens))
    labels = torch.where(torch.rand(ids.shape) < LABELLED, ids, -100)
    labels[0, 0] = ids[0, 0]
    return (transformers.ModernBertForMaskedLM._from_config(settings, attn_implementation="sdpa"),
            {"input_ids": ids, "labels": labels})


if __name__ == "__main__":
    turns.main(__doc__, turns.Model("ModernBERT", list(SIZES), 8192, config, build))
