#!/usr/bin/env python3
"""Hugging Face's Longformer beside longspan's: time and memory of a forward pass and of a step.

usage: longformer_speed.py PROGRAM [--size base|small|tiny] [--tokens 4096] [--layers N] [--steps 3]
                           [--pairs 2] [--threads N] [--dtype f32 bf16] [--step forward train]
                           [--cast autocast|weights] [--memory SIZE] [--json FILE]

Needs an environment with torch and transformers, some gigabytes on a disk:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
Run it on an idle machine with a release build; a base-size step takes 10 to 20 GB.

Both get one config.json: LongformerForMaskedLM of that size with dropout 0, random weights, one row
of random tokens of which the first is global, labels on 15 % of them.
  forward  the loss in evaluation mode, without gradients
  train    forward, backward and AdamW's update, for both
bf16 of Hugging Face is torch.autocast over fp32 weights, as longspan's masters are; `--cast weights`
makes the weights themselves bf16, which saves memory and loses small updates. `--memory 3G` makes
longspan compute layers again as far as that demands. How they take turns: turns.py.
Prints a table and, with --json, writes all figures.
"""
import turns

# hidden, heads, layers, attention_window (both sides), positions
SIZES = {"tiny": (128, 2, 2, 64, 1026), "small": (256, 4, 6, 256, 4098),
         "base": (768, 12, 12, 512, 4098)}
LABELLED = 0.15


def config(size, tokens, layers=None):
    hidden, heads, own_layers, window, positions = SIZES[size]
    layers = layers or own_layers
    return {"model_type": "longformer", "architectures": ["LongformerForMaskedLM"],
            "vocab_size": 50265, "hidden_size": hidden, "num_attention_heads": heads,
            "num_hidden_layers": layers, "intermediate_size": 4 * hidden,
            "attention_window": [window] * layers,
            "max_position_embeddings": max(positions, tokens + 2),
            "type_vocab_size": 1, "layer_norm_eps": 1e-5, "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
            "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}


def build(folder, options, torch, transformers):
    settings = transformers.LongformerConfig.from_pretrained(folder)
    ids = torch.randint(3, settings.vocab_size, (1, options.tokens))
    labels = torch.where(torch.rand(ids.shape) < LABELLED, ids, -100)
    labels[0, 0] = ids[0, 0]
    where = torch.zeros_like(ids)
    where[0, 0] = 1
    return (transformers.LongformerForMaskedLM(settings),
            {"input_ids": ids, "global_attention_mask": where, "labels": labels})


if __name__ == "__main__":
    turns.main(__doc__, turns.Model("Longformer", list(SIZES), 4096, config, build))
