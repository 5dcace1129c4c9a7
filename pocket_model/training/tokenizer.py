"""A byte-level BPE vocabulary of the world's words, in files that every release of CLIPTokenizer reads."""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTokenizer

from ..scene import AESTHETICS, random_scene
from ..words import DEGREES, HUES, MOODS, PHOTO_WORDS, SETTING_WORDS, SUBJECT_WORDS, caption

LENGTH = 32
MERGES = 700
BOS, EOS, END_OF_WORD = "<|startoftext|>", "<|endoftext|>", "</w>"
PATTERN = r"""'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def _byte_letters() -> list[str]:
    """The 256 characters that represent bytes, in CLIP's order: printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in printable]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(len(rest))]


def _corpus() -> list[str]:
    sentences = [caption(random_scene(seed), 0) for seed in range(20_000)]
    groups = [*SUBJECT_WORDS.values(), *SETTING_WORDS.values(), *MOODS.values(), *PHOTO_WORDS]
    groups += [words for ends in DEGREES.values() for words in ends]
    phrases = [*AESTHETICS, *HUES, *(phrase for words in groups for phrase in words)]
    random.Random(0).shuffle(phrases)
    return sentences + phrases * 20


def _with_processing(core: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(core)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train(folder: Path) -> None:
    """Write vocab.json and merges.txt, which all releases of transformers read, and tokenizer.json for fast classes."""
    learner = _with_processing(models.BPE(end_of_word_suffix=END_OF_WORD))
    trainer = trainers.BpeTrainer(
        vocab_size=512 + MERGES,
        initial_alphabet=_byte_letters(),
        end_of_word_suffix=END_OF_WORD,
        min_frequency=2,
        show_progress=False,
    )
    learner.train_from_iterator(_corpus(), trainer)
    letters = _byte_letters()
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]][:MERGES]
    words = [*letters, *(c + END_OF_WORD for c in letters), *dict.fromkeys(a + b for a, b in merges), BOS, EOS]
    vocabulary = {word: i for i, word in enumerate(words)}

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    special = {"bos_token": BOS, "eos_token": EOS, "pad_token": EOS, "unk_token": EOS}
    settings = {
        "add_prefix_space": False,
        "do_lower_case": True,
        "errors": "replace",
        "model_max_length": LENGTH,
        "tokenizer_class": "CLIPTokenizer",
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, **special}, indent=2), encoding="utf-8")

    complete = _with_processing(
        models.BPE(
            vocab=vocabulary, merges=merges, unk_token=EOS, end_of_word_suffix=END_OF_WORD, continuing_subword_prefix=""
        )
    )
    complete.add_special_tokens([BOS, EOS])
    complete.post_processor = processors.RobertaProcessing(
        (EOS, vocabulary[EOS]), (BOS, vocabulary[BOS]), trim_offsets=False, add_prefix_space=False
    )
    content = json.loads(complete.to_str())
    content["model"]["merges"] = [f"{a} {b}" for a, b in merges]  # the format of tokenizers before 0.20
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def load(folder: Path) -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder)


def ids(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids `[n, 32]`, padded with the end-of-text token. CLIP, UNet and tuning all use no mask."""
    return tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").input_ids
