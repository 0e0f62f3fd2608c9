"""Files of models' folders."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any

# Beside config.json and weights: what tokenizers and sentence-transformers read.
_COMPANIONS = (
    "added_tokens.json",
    "config_sentence_transformers.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)


def parse_json(text: str) -> Any:
    """What a JSON text of the library holds."""
    return json.loads(text)


def _modules(folder: str) -> list[str]:
    """The subfolders that a folder's modules.json names: pooling, dense layers, norms."""
    path = os.path.join(folder, "modules.json")
    if not os.path.isfile(path):
        return []
    with open(path, encoding="utf-8") as file:
        modules = json.load(file)
    names = [str(module.get("path", "")) for module in modules if isinstance(module, dict)]
    return [name for name in names if name and os.path.basename(name) == name]


def copy_companions(source: str, target: str) -> None:
    """Copies tokenizer and pooling from one folder to another, unless that has them."""
    if os.path.realpath(source) == os.path.realpath(target):
        return
    for name in _COMPANIONS:
        path = os.path.join(source, name)
        if os.path.isfile(path):
            shutil.copyfile(path, os.path.join(target, name))
    for name in _modules(source):
        path = os.path.join(source, name)
        if os.path.isdir(path):
            shutil.copytree(path, os.path.join(target, name), dirs_exist_ok=True)
