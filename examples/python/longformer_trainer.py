"""Trains a Longformer of Hugging Face with its own Trainer, on longspan's attention.

    longformer_trainer.py OUTPUT [STEPS]

The model is small and random; with one from the hub, AutoModelForSequenceClassification and
from_pretrained take its place, and the two lines that matter stay. OUTPUT gets the trained model,
which loads with and without longspan.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from transformers import (LongformerConfig, LongformerForSequenceClassification, Trainer,
                          TrainingArguments)

import longspan.hf  # the first of two lines


def make_rows(count: int, tokens: int) -> list[dict[str, torch.Tensor]]:
    """Random texts; those of label 1 have the token 7 in some place."""
    rows = []
    for i in range(count):
        ids = torch.randint(10, 1000, (tokens,))
        if i % 2:
            ids[int(torch.randint(1, tokens, ()))] = 7
        rows.append({"input_ids": ids, "labels": torch.tensor(i % 2)})
    return rows


def main(argv: Sequence[str]) -> int:
    """The program; returns its exit status."""
    if len(argv) not in (1, 2):
        print("usage: longformer_trainer.py OUTPUT [STEPS]", file=sys.stderr)
        return 2
    torch.manual_seed(1)
    model = LongformerForSequenceClassification(LongformerConfig(
        vocab_size=1000, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128, attention_window=64, max_position_embeddings=1030))
    longspan.hf.accelerate(model)  # from here on its attention is longspan's

    arguments = TrainingArguments(
        output_dir=argv[0], max_steps=int(argv[1]) if len(argv) == 2 else 10, use_cpu=True,
        per_device_train_batch_size=2, learning_rate=1e-3, logging_steps=5, report_to=[],
        save_strategy="no", disable_tqdm=True, seed=1)
    trainer = Trainer(model=model, args=arguments, train_dataset=make_rows(32, tokens=1000))
    trainer.train()
    model.save_pretrained(argv[0])
    print(longspan.hf.report(model))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
