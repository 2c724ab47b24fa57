"""Makes `tekken_excerpt.json` and `tekken_ids.json` anew, from the table that Mistral publishes.

Run with the package `mistral-common` installed (it is no dependency: it pins an older numpy):

    python tests/prompt/data/make_excerpt.py

The excerpt is a `tokenizer.json` as transformers makes it from the whole table, with the entries
that the texts below can touch: every entry that is a substring of one of their words. Merging is by
rank within a word, so that for these texts the excerpt and the whole table give the same ids. The
ids are those of Mistral's own tokenizer on the whole table.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import mistral_common
import regex
from mistral_common.tokens.tokenizers.tekken import Tekkenizer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers.integrations.mistral.tokenizer import MistralConverter

from linocut.prompt.template import SYSTEM_MESSAGE

HERE = Path(__file__).parent
TABLE = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
PROMPTS = (
    "a red apple",
    "A cat holding a sign that says hello world",
    "Ein Mädchen läßt Drachen steigen, 35 mm, f/1.8",
    "  two  spaces,\ttab\n\nand lines\r\n",
    "don't SHOUT — it's 2026-01-31!",
    "一只红苹果在木桌上 🍎",
    "https://example.com/a?b=c#d",
)
NUM_SPECIAL = 1000


def main() -> None:
    """Write both files."""
    table = json.loads(TABLE.read_text())
    size = table["config"]["default_vocab_size"] - NUM_SPECIAL
    ranks = {
        base64.b64decode(entry["token_bytes"]): entry["rank"] for entry in table["vocab"][:size]
    }
    pattern = table["config"]["pattern"]
    words = {w.encode() for t in (SYSTEM_MESSAGE, *PROMPTS) for w in regex.findall(pattern, t)}
    parts = {w[i:j] for w in words for i in range(len(w)) for j in range(i + 1, len(w) + 1)}
    kept = {token: rank for token, rank in ranks.items() if len(token) == 1 or token in parts}
    vocab, merges = MistralConverter._extract_merges(kept)
    vocab = {token: rank + NUM_SPECIAL for token, rank in vocab.items()}
    special = {str(entry["token_str"].value): entry["rank"] for entry in
               Tekkenizer.DEPRECATED_SPECIAL_TOKENS}  # fmt: skip
    tokenizer = Tokenizer(models.BPE(vocab | special, merges, fuse_unk=False, ignore_merges=True))
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    as_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, as_bytes])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.save(str(HERE / "tekken_excerpt.json"), pretty=False)
    theirs = Tekkenizer.from_file(TABLE)
    ids = {text: theirs.encode(text, bos=False, eos=False) for text in (SYSTEM_MESSAGE, *PROMPTS)}
    lines = (f"{json.dumps(text, ensure_ascii=False)}: {row}" for text, row in ids.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (HERE / "tekken_ids.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
