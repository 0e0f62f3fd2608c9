"""Trains a ModernBERT with transformers' Trainer, its attention on longspan.

    modernbert_two_lines.py [STEPS]

The model is small and random. A trained one is loaded with
AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="longspan").
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence

import torch
from transformers import (AutoModelForSequenceClassification, ModernBertConfig, Trainer,
                          TrainingArguments)

import longspan.hf

RARE, TOKENS = 7, 384


def rows(count: int) -> list[dict[str, torch.Tensor]]:
    """Texts of random tokens; label 1 where one of them is RARE."""
    result = []
    for _ in range(count):
        ids = torch.randint(10, 500, (TOKENS,))
        label = torch.randint(2, ())
        if label:
            ids[torch.randint(1, TOKENS, (8,))] = RARE
        ids[0] = 1
        result.append({"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": label})
    return result


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    torch.manual_seed(0)
    config = ModernBertConfig(
        vocab_size=500, hidden_size=64, intermediate_size=96, num_hidden_layers=3,
        num_attention_heads=4, local_attention=32, pad_token_id=0, cls_token_id=1, sep_token_id=2)

    longspan.hf.register()  # the first of two lines
    model = AutoModelForSequenceClassification.from_config(
        config, attn_implementation="longspan")  # the second

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, use_cpu=True, report_to=[], max_steps=int(argv[0]) if argv else 30,
            per_device_train_batch_size=8, learning_rate=2e-3, logging_steps=10, seed=0,
            save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False)
        Trainer(model, settings, train_dataset=rows(256)).train()
    print(longspan.hf.report(model))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
