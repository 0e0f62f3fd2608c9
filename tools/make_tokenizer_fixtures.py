#!/usr/bin/env python3
"""Writes tests/tokenizers/: small tokenizers, and what the package `tokenizers` makes of texts.

usage: make_tokenizer_fixtures.py [NAME...] | --show TOKENIZER CODEPOINT
                                        needs `pip install tokenizers xxhash`

The tokenizers are made from data/persuasion.txt and some lines in other scripts; the variants are
merge patches (RFC 7386) of their tokenizer.json. src/text/recorded_tokenizers_test.cc replays
NAME.cases.json:

  scalars   a hash for each block of 256 code points over ids and offsets of two texts a scalar
            value: the character alone, and between letters, digits and marks
  novel     a hash for each paragraph of data/persuasion.txt
  texts     texts (or bytes, base64) with ids, offsets in characters, and both ways to decode
  pairs     two texts with ids, type ids and offsets
  cuts      truncated rows and windows

src/text/word_expressions_test.cc replays expressions.json: of each regular expression that cuts
texts into words, where it cuts texts that reach all its branches (ends in characters), and a hash
for each 4096 code points over the ends in texts with each scalar value between others.

NAMEs write the cases of these tokenizers alone ("expressions": expressions.json). --show prints what stands behind the hash of one code point.
"""
import base64
import hashlib
import json
import random
import sys
from collections import Counter
from pathlib import Path

import xxhash
from tokenizers import (AddedToken, Tokenizer, __version__, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers, Regex)

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "tests" / "tokenizers"
NOVEL = (ROOT / "data" / "persuasion.txt").read_text(encoding="utf-8")
BLOCK = 256
FORMS = ("nfc", "nfkc", "nfkd")

# The regular expressions of tokenizer.json files that src/text/word_expressions.cc matches.
CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
CAPITALS, SMALLS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cases(contractions, digits):
    lead = r"[^\r\n\p{L}\p{N}]?"
    return (f"{lead}{CAPITALS}*{SMALLS}+{contractions}|{lead}{CAPITALS}+{SMALLS}*{contractions}|" +
            digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + SPACES)


def letters(digits):
    return (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n]*" +
            SPACES)


EXPRESSIONS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": letters(r"\p{N}{1,3}"),
    "tiktoken": (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}|"
                 r" ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"),
    "qwen2": letters(r"\p{N}"),
    "qwen3.5": (CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}|"
                r" ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + SPACES),
    "gpt4o": cases(CONTRACTIONS + "?", r"\p{N}{1,3}"),
    "tekken": cases("", r"\p{N}"),
}

# Lines in other scripts, so that the vocabularies know some of them.
SCRIPTS = [
    "Élan, naïve façade; Über größere Straßen, İstanbul ışık, Ångström, piñata, Čeština ř ű ő",
    "Ελληνικά γράμματα άέήίόύώ ΑΒΓΔ", "Привет, мир! Ёлка ещё и й", "שלום עולם", "مرحبا بالعالم",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "漢字 仮名 交じり文、日本語。カタカナ ガギグ", "中文字符测试", "한국어 문장",
    "naïve café e\u0301 a\u0323\u0308 o\u0302\u0301", "½ ² Ⅷ ① ٣ ५ ๔", "“quotes” ‘single’ — dash … €£¥ °±×÷",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️ ☂ ♞", "\ufb01 \ufb02 \u1e9e \u0130 \u01c5 \u03a3\u03c2",
]


def roberta():
    """Byte-level BPE. Beside what it learns, each first and last byte of a character merges with the
    letter, digit or mark beside it: so ids tell where words end."""
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(vocab_size=1200, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    base.train_from_iterator(NOVEL.splitlines() + SCRIPTS * 3, trainer)
    model = json.loads(base.to_str())["model"]
    merges = [tuple(m) for m in model["merges"]]
    byte = byte_characters()
    for side in "ab1!":
        for b in range(0xC2, 0xF5):
            merges.append((side, byte[b]))
        for b in range(0x80, 0xC0):
            merges.append((byte[b], side))
    vocab = model["vocab"]
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    t = Tokenizer(models.BPE(vocab, list(dict.fromkeys(merges))))
    t.add_special_tokens([AddedToken(s, lstrip=s == "<mask>", normalized=False) for s in special])
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True,
                                                    add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    return t


def llama3():
    """Byte-level BPE of Llama 3's form. Merges of characters that the expressions tell apart with
    each other, and with each first and last byte of a character, make ids tell where words end."""
    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|mask|>"]
    split = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(EXPRESSIONS["llama3"]), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    base = Tokenizer(models.BPE())
    base.pre_tokenizer = split
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=special, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    base.train_from_iterator([NOVEL[:200000]] + SCRIPTS, trainer)
    model = json.loads(base.to_str())["model"]
    byte = byte_characters()
    sides = [byte[ord(c)] for c in "aA1! \n'/s"]
    bytes_of_others = [byte[b] for b in [*range(0x80, 0xC0), *range(0xC2, 0xF5)]]
    merges = [(a, b) for a in sides for b in sides]
    for a in sides[:6]:
        merges += [(a, b) if ord(b) > 0xC1 else (b, a) for b in bytes_of_others]
    merges = list(dict.fromkeys([tuple(m) for m in model["merges"]] + merges))
    vocab = model["vocab"]
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    for word in ("Anne's", " Kellynch", "!\n"):  # ignore_merges takes them whole
        vocab.setdefault("".join(byte[b] for b in word.encode()), len(vocab))
    t = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    t.add_special_tokens([AddedToken(s, normalized=False) for s in special])
    t.pre_tokenizer = split
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1",
            special_tokens=[("<|begin|>", 0)])])
    t.decoder = decoders.ByteLevel()
    return t


def gemma():
    """BPE over characters with bytes for those that have no token, of Gemma's form: no word ends
    before an added token does."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    normalizer = normalizers.Replace(" ", "\u2581")
    base = Tokenizer(models.BPE())
    base.normalizer = normalizer
    tokens = special + [f"<0x{b:02X}>" for b in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=1000, special_tokens=tokens, show_progress=False,
                                  limit_alphabet=150)
    base.train_from_iterator(NOVEL[:200000].splitlines() + SCRIPTS, trainer)
    model = json.loads(base.to_str())["model"]
    t = Tokenizer(models.BPE(model["vocab"], [tuple(m) for m in model["merges"]], unk_token="<unk>",
                             byte_fallback=True, fuse_unk=True))
    t.add_special_tokens([AddedToken(s, normalized=False, lstrip=s == "<mask>") for s in special])
    t.add_tokens([AddedToken(s, normalized=False) for s in ("\n\n", "\n\n\n", "\u2581\u2581", "<table>")])
    t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    t.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", pair="<bos> $A <eos> <bos>:1 $B:1 <eos>:1",
        special_tokens=[("<bos>", 2), ("<eos>", 1)])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(),
                                   decoders.Fuse()])
    return t


def byte_characters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def bert(lower):
    """WordPiece: every character, and the most frequent words, beginnings and ends of words. (The
    package's trainer does not give the same vocabulary twice.)"""
    normalizer = normalizers.BertNormalizer(True, True, None, lower)
    split = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words, pieces = Counter(), Counter()
    for line in NOVEL.splitlines() + SCRIPTS:
        words.update(w for w, _ in split.pre_tokenize_str(normalizer.normalize_str(line)))
    for word, count in words.items():
        for n in range(2, min(len(word), 5)):
            pieces[word[:n]] += count
            pieces["##" + word[-n:]] += count
    characters = sorted({c for w in words for c in w})
    inner = sorted({"##" + c for w in words for c in w[1:]})

    def top(counter, n):
        return sorted(counter, key=lambda x: (-counter[x], x))[:n]
    tokens = dict.fromkeys([*special, *characters, *inner, *top(words, 600), *top(pieces, 500)])
    t = Tokenizer(models.WordPiece({w: i for i, w in enumerate(tokens)}, unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizer, split
    t.add_special_tokens([AddedToken(s, normalized=False) for s in special])
    t.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.decoder = decoders.WordPiece()
    return t


def added(id, content, special=False, **flags):
    token = {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
             "normalized": not special, "special": special}
    return {**token, **flags}


def split(pattern, behavior, invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


LAST_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
              "use_regex": False}
MODERN = ("llama3", "gpt4o", "gemma", "splits", "splits-odd")


def variants(roberta_size, bert_size, wentworth):
    """{name: (tokenizer, patch of its tokenizer.json)}"""
    robertas = [added(i, s, True, lstrip=s == "<mask>")
                for i, s in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])]
    berts = [added(i, s, True)
             for i, s in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])]
    return {
        "roberta": ("roberta", {}),
        "roberta-prefix": ("roberta", {
            "pre_tokenizer": {"add_prefix_space": True}, "post_processor": {"add_prefix_space": True},
            "added_tokens": robertas + [
                added(roberta_size, "Kellynch Hall", single_word=True),
                added(roberta_size + 1, "<x>", normalized=False, rstrip=True),
                added(roberta_size + 2, "<xy>", True, lstrip=True, rstrip=True)]}),
        "gpt2": ("roberta", {
            "post_processor": {"type": "ByteLevel", "trim_offsets": False, "use_regex": True,
                               "sep": None, "cls": None}}),
        "bytes-whole": ("roberta", {
            "pre_tokenizer": {"use_regex": False}, "model": {"ignore_merges": True},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                 "use_regex": True}, {"type": "Fuse"}],
                "add_prefix_space": None, "trim_offsets": None, "use_regex": None},
            "post_processor": {"type": "Sequence", "sep": None, "cls": None, "trim_offsets": None,
                               "add_prefix_space": None, "processors": [
                {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                 "use_regex": True},
                {"type": "TemplateProcessing", "single": [
                    {"SpecialToken": {"id": "<s>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 1}}], "pair": [
                    {"Sequence": {"id": "B", "type_id": 2}},
                    {"SpecialToken": {"id": "two", "type_id": 3}},
                    {"Sequence": {"id": "A", "type_id": 4}}], "special_tokens": {
                    "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                    "two": {"id": "two", "ids": [2, 3], "tokens": ["</s>", "<unk>"]}}}]}}),
        "bert-uncased": ("bert-uncased", {}),
        "bert-cased": ("bert-cased", {}),
        "accents": ("bert-uncased", {
            "normalizer": {"type": "Sequence", "clean_text": None, "handle_chinese_chars": None,
                           "strip_accents": None, "lowercase": None, "normalizers": [
                               {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]},
            "pre_tokenizer": {"type": "Whitespace"}, "decoder": {"cleanup": False},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2],
                               "single": None, "pair": None, "special_tokens": None},
            "added_tokens": berts + [
                added(bert_size, "ÉLAN"), added(wentworth, "wentworth", single_word=True),
                added(bert_size + 1, "[x]", normalized=False, lstrip=True, rstrip=True)]}),
        "pieces": ("bert-uncased", {
            "normalizer": {"strip_accents": False, "clean_text": False}, "decoder": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"}, {"type": "Punctuation", "behavior": "Isolated"},
                {"type": "Split", "pattern": {"String": "an"}, "behavior": "Isolated",
                 "invert": False},
                {"type": "Split", "pattern": {"String": "t"}, "behavior": "Removed",
                 "invert": False}]},
            "post_processor": None}),
        **{form: ("roberta", {"normalizer": {"type": form.upper()}}) for form in FORMS},
        "llama3": ("llama3", {}),
        "gpt4o": ("llama3", {"pre_tokenizer": {"pretokenizers": [
            split({"Regex": EXPRESSIONS["gpt4o"]}, "Removed", True), LAST_BYTES]},
            "model": {"ignore_merges": False}}),
        "gemma": ("gemma", {}),
        "splits": ("llama3", {"pre_tokenizer": {"pretokenizers": [
            split({"String": " "}, "MergedWithPrevious"), split({"String": "e"}, "MergedWithNext"),
            {"type": "Punctuation", "behavior": "Contiguous"}, LAST_BYTES]}}),
        "splits-odd": ("llama3", {"pre_tokenizer": {"pretokenizers": [
            split({"Regex": EXPRESSIONS["qwen2"]}, "MergedWithPrevious", True),
            split({"String": "a"}, "MergedWithNext", True),
            split({"String": "s"}, "Contiguous"), split({"String": "1"}, "Contiguous", True),
            {"type": "Punctuation", "behavior": "MergedWithPrevious"},
            {"type": "Punctuation", "behavior": "Removed"}, LAST_BYTES]}}),
    }


def merge_patch(target, patch):
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = merge_patch(target.get(key), value)
    return target


def patched(name, base, patch):
    document = json.loads((OUT / base / "tokenizer.json").read_text(encoding="utf-8"))
    document = merge_patch(document, patch)
    for section in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        document.setdefault(section, None)
    return Tokenizer.from_str(json.dumps(document))


def dump(path, value, **options):
    path.write_text(json.dumps(value, ensure_ascii=False, **options) + "\n", encoding="utf-8")


def write_directories():
    for name, t in (("roberta", roberta()), ("bert-uncased", bert(True)),
                    ("bert-cased", bert(False)), ("llama3", llama3()), ("gemma", gemma())):
        folder = OUT / name
        folder.mkdir(parents=True, exist_ok=True)
        document = json.loads(t.to_str())
        vocab = document["model"]["vocab"]
        dump(folder / "tokenizer.json", document, separators=(",", ":"))
        if name == "roberta":
            dump(folder / "vocab.json", vocab, separators=(",", ":"))
            merges = [" ".join(m) for m in document["model"]["merges"]]
            (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n",
                                               encoding="utf-8")
            dump(folder / "special_tokens_map.json", {
                "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
                "pad_token": "<pad>", "cls_token": "<s>",
                "mask_token": {"content": "<mask>", "single_word": False, "lstrip": True,
                               "rstrip": False, "normalized": False}}, indent=2)
            config = {"tokenizer_class": "RobertaTokenizer", "model_max_length": 512,
                      "add_prefix_space": False}
        elif name in MODERN:
            config = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192,
                      "pad_token": "<pad>" if name == "gemma" else "<|pad|>",
                      "mask_token": "<mask>" if name == "gemma" else "<|mask|>"}
        else:
            tokens = sorted(vocab, key=vocab.get)
            assert [vocab[t] for t in tokens] == list(range(len(tokens)))
            (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
            config = {"tokenizer_class": "BertTokenizer", "do_lower_case": name == "bert-uncased",
                      "model_max_length": 10**30}
        dump(folder / "tokenizer_config.json", config, indent=2)


def digest(encodings):
    """Ids and offsets as little-endian int32: count, ids, begins and ends in turn."""
    h = xxhash.xxh64()
    for e in encodings:
        spans = [x for span in e.offsets for x in span]
        h.update(b"".join(x.to_bytes(4, "little") for x in (len(e.ids), *e.ids, *spans)))
    return h.hexdigest()[8:]


def scalar_texts(c):
    return [chr(c), "a{0}b 1{0}1 !{0}!".format(chr(c))]


def scalars(t):
    hashes = []
    for at in range(0, 0x110000, BLOCK):
        if 0xD800 <= at < 0xE000:
            continue
        texts = [text for c in range(at, at + BLOCK) for text in scalar_texts(c)]
        hashes.append(digest(t.encode_batch(texts, add_special_tokens=False)))
    return "".join(hashes)


def novel(t):
    return "".join(digest([t.encode(p)]) for p in NOVEL.split("\n\n"))


def random_texts(rng):
    """Mixes of words, scripts, emoji, white space, marks and special tokens."""
    words = NOVEL.split()
    odd = [w for line in SCRIPTS for w in line.split()]
    spaces = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", " \n ", "\u200b"]
    special = ["<s>", "</s>", "<mask>", "<pad>", "<unk>", "<x>", "<xy>", "[MASK]", "[SEP]", "[x]",
               "[UNK]", "Kellynch Hall", "Élan", "wentworth", "Wentworth"]
    marks = ["'s", "'ll", "'T", "'re", "!!", "...", "--", "_", "\u0301", "\u200d", "\ufffd", "\x00",
             "\x7f", "don't", " do not", "3.14", "1,000", "\ufeff", "##ing", "\u0130", "\U0001f600"]
    texts = ["", " ", "\n", "  a", "a  ", "<mask>", " <mask> ", "a<mask>b", "\ufffd", "\u0301", "e\u0301",
             "x" * 101, "ab" * 50]
    while len(texts) < 90:
        parts = []
        for _ in range(rng.randint(1, 14)):
            kind = rng.choices([words, odd, spaces, special, marks, None], [5, 4, 5, 2, 3, 1])[0]
            if kind is None:
                c = rng.randrange(0x110000)
                parts.append(chr(c) if not 0xD800 <= c < 0xE000 else "?")
            else:
                parts.append(rng.choice(kind))
            if rng.random() < 0.4:
                parts.append(" ")
        texts.append("".join(parts))
    return texts


def mark_texts(rng):
    """Marks of many classes behind characters that they may compose with."""
    marks = [*range(0x300, 0x370), 0x591, 0x5B0, 0x64B, 0x93C, 0x94D, 0xE38, 0xF71, 0x3099, 0x1D165]
    bases = [*"aeoUs \u00e9\u1e69\uac01\u1100\u1161\u11a8\u212b\u0344\u0390\u1f82\u304b\ufb01\ufdfa\u2460"]
    return ["".join(chr(rng.choice(marks)) if rng.random() < 0.6 else rng.choice(bases)
                    for _ in range(rng.randint(1, 16))) for _ in range(60)]


def expression_texts(rng):
    """Texts that reach every branch of EXPRESSIONS."""
    texts = [
        "I'm you'RE he'S we'Ve they'LL don'T I'd x'\u017f x'Ss 'tis 'LLama 're-do O'Neill's 'S",
        "'", "''s", "a'", "a'l", "a'r", "a'ree", "'v", "1's 's1",
        "1 12 123 1234 12345 1234567 \u0663\u0664\u0665\u0666 \u00bd\u2167 a1b22c333d4444e",
        "HTMLParser iPhone McDonald XMLHttpRequest ABc aBC \u01c5a \u01c5\u01c5 A\u02b0B \u02b0\u02b0A AAAA",
        "e\u0301a \u0301a \u0301 \u0301\u0301A a\u0301A\u0301b \u0301'S !\u0301 !\u0301\u0301 \u4e2d\u0301",
        "\u4e2d\u6587ABC\u4e2dabc \u4e2dA \u4e2dAa A\u4e2d \u4e2d's \u65e5\u672c\u8a9e123 \ud55c\uad6d\uc5b4",
        "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u05e9\u05b8\u05dc\u05d5\u05b9\u05dd",
        "end.\n\n  next", "a\r\nb", "a \n b", " \n \n  a", "\n a", "\t\ta", " \ta", "a  ", "a \n", "a\n \n",
        "\u00a0\u00a0a", "a \u3000b", "\u2028\u2028a", "a\u0085\u0085b", "   ", "\n", "\r\r", " ", "  \r",
        "foo!!\n\nbar", "http://x.y/z//\n/w", "a /\n/ b", "!/\r\n", " !! \n", "...a", "!a", "\"Quoted\"",
        "(a) [B] {c1} #A #1 $5 _a__B_", "\u201cHe\u2019s\u201d", "\U0001f600A\U0001f600a \U0001f600\U0001f600\n",
        "<mask> <eos>a<bos>", "a  b\n\nc\n\n\nd\n\n\n\ne", "\u2581\u2581 \u2581a <table>b", "Anne's Kellynch!\n",
    ]
    alphabet = [*"aAbB1 9!'\n\r\t/sStTlLrReEvVdDmM", "  ", "\u017f", "\u0301", "\u01c5", "\u02b0", "\u4e2d",
                "\u00e9", "\u00c9", "\u0663", "\u00a0", "\u2028", "\U0001f600", "\u0e31", "\u0903"]
    return texts + ["".join(rng.choices(alphabet, k=rng.randint(1, 30))) for _ in range(60)]


def random_bytes(rng):
    rows = []
    for _ in range(30):
        pool = range(256) if rng.random() < 0.5 else [*b"ab 1!", 0x80, 0xC3, 0xA9, 0xE2, 0x82, 0xED,
                                                      0xA0, 0xF0, 0x9F, 0x98, 0xF4, 0xFF, 0xC0]
        rows.append(bytes(rng.choice(pool) for _ in range(rng.randint(1, 40))))
    return rows


def spans(e):
    return [x for span in e.offsets for x in span]


def text_cases(t, texts, raw):
    rows = []
    inputs = [({"text": x}, x) for x in texts]
    inputs += [({"bytes": base64.b64encode(x).decode()}, x.decode("utf-8", "replace")) for x in raw]
    for row, text in inputs:
        e = t.encode(text, add_special_tokens=False)
        row.update(ids=e.ids, offsets=spans(e), decoded=t.decode(e.ids, skip_special_tokens=False))
        skipped = t.decode(e.ids, skip_special_tokens=True)
        if skipped != row["decoded"]:
            row["skipped"] = skipped
        rows.append(row)
    return rows


def pair_cases(t, texts):
    rows = []
    for a, b in zip(texts[:40:2], texts[1:40:2]):
        e = t.encode(a, b)
        rows.append({"pair": [a, b], "ids": e.ids, "types": e.type_ids, "offsets": spans(e)})
    return rows


def cut_cases(name, t, texts, rng):
    rows = []
    long = [x for x in texts if len(t.encode(x).ids) > 12]
    strategies = {"truncate": "longest_first", "truncate-first": "only_first", "window": None}
    for i in range(36):
        how = list(strategies)[i % 3]
        pair = i % 2 == 1
        a, b = rng.choice(long), rng.choice(long)
        whole = t.encode(a, b) if pair else t.encode(a)
        most = rng.randint(8, len(whole.ids))
        stride = rng.randint(0, 2) if how == "window" else 0
        strategy = strategies[how] or ("only_second" if pair else "only_first")
        t.enable_truncation(most, stride=stride, strategy=strategy)
        try:
            e = t.encode(a, b) if pair else t.encode(a)
        except BaseException:  # one text alone is too long: refused here as well
            t.no_truncation()
            continue
        t.no_truncation()
        # The package gives types to the first window only when the template asks for odd ones.
        encodings = [e, *e.overflowing] if how == "window" else [e]
        typed = encodings[:1] if name == "bytes-whole" else encodings
        rows.append({"texts": [a, b] if pair else [a], "how": how, "most": most, "stride": stride,
                     "rows": [x.ids for x in encodings], "types": [x.type_ids for x in typed]})
    return rows


def write_cases(name, base, patch):
    t = patched(name, base, patch)
    rng = random.Random(7)
    texts = random_texts(rng)
    if name in FORMS:
        texts = texts[:25] + mark_texts(rng)
    if name in MODERN:
        texts += expression_texts(rng)
    sections = {"texts": text_cases(t, texts, random_bytes(rng)), "pairs": pair_cases(t, texts),
                "cuts": cut_cases(name, t, texts, rng)}
    lines = [f'"base": {json.dumps(base)}', f'"patch": {json.dumps(patch, ensure_ascii=True)}',
             f'"scalars": "{scalars(t)}"', f'"novel": "{novel(t)}"']
    for section, rows in sections.items():
        body = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
        lines.append(f'"{section}": [\n{body}]')
    (OUT / f"{name}.cases.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    print(name, "written", file=sys.stderr)


def around(c):
    """A scalar value beside characters of the kinds that the expressions know."""
    return "{0} {0}a{0}A{0}1{0}!{0}\n{0}{0}'{0}'s{0}'S \n{0} ".format(chr(c))


def write_expressions():
    rows = []
    for name, pattern in EXPRESSIONS.items():
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")

        def ends(text, cut=cut):
            spans = [span for _, span in cut.pre_tokenize_str(text)]
            assert spans == list(zip([0] + [e for _, e in spans], [e for _, e in spans]))
            return [end for _, end in spans]
        hashes = []
        for at in range(0, 0x110000, 4096):
            h = xxhash.xxh64()
            for c in range(at, at + 4096):
                if not 0xD800 <= c < 0xE000:
                    h.update(b"".join(x.to_bytes(4, "little") for x in ends(around(c))))
            hashes.append(h.hexdigest()[8:])
        rng = random.Random(11)
        texts = expression_texts(rng) + random_texts(rng)
        rows.append(json.dumps({"name": name, "pattern": pattern, "scalars": "".join(hashes),
                                "texts": [[t, ends(t)] for t in texts]}, separators=(",", ":")))
        print(name, "expression written", file=sys.stderr)
    (OUT / "expressions.json").write_text("[" + ",\n".join(rows) + "]\n", encoding="utf-8")


def show(name, point):
    document = json.loads((OUT / f"{name}.cases.json").read_text(encoding="utf-8"))
    t = patched(name, document["base"], document["patch"])
    for text in scalar_texts(point):
        e = t.encode(text, add_special_tokens=False)
        print(ascii(text), list(zip(e.tokens, e.ids, e.offsets)))


def write_provenance():
    lines = [f"""# Recorded tokenizers
Written by `tools/make_tokenizer_fixtures.py` with `tokenizers` {__version__}: five small tokenizers, made from `data/persuasion.txt` and on
some lines in other scripts that stand in the tool, and what the package makes of texts with them and with variants of
them. `spiece-*`, `reformer-5*` and `unigram*` are written by `tools/make_sentencepiece_fixtures.py`, with `sentencepiece` 0.2.3 and
`transformers` 5.23 too, from the same text. Nothing here comes from anybody's model. The table is checked: a test compares every file's sha256 with it.

| file | sha256 |
|---|---|"""]
    for file in sorted(OUT.rglob("*")):
        if file.is_file() and file.name != "PROVENANCE.md":
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            lines.append(f"| `{file.relative_to(OUT).as_posix()}` | `{digest}` |")
    (OUT / "PROVENANCE.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    if sys.argv[1:2] == ["--show"]:
        return show(sys.argv[2], int(sys.argv[3], 0))
    print("tokenizers", __version__, file=sys.stderr)
    write_directories()
    vocabs = [json.loads((OUT / d / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
              for d in ("roberta", "bert-uncased")]
    table = variants(len(vocabs[0]), len(vocabs[1]), vocabs[1]["wentworth"])
    wanted = sys.argv[1:] or [*table, "expressions"]
    for name, (base, patch) in table.items():
        if name in wanted:
            write_cases(name, base, patch)
    if "expressions" in wanted:
        write_expressions()
    write_provenance()


if __name__ == "__main__":
    main()
