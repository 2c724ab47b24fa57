"""The prompt check by the text encoder itself: all its layers, asked to answer yes or no.

FLUX.2 [dev]'s encoder is a whole language model, of which drawing reads the first 30 layers. With
the other ten and its word head it can be asked about a prompt: one run, of which the next word's
two logits for "yes" and "no" are read.     T tokens
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open
from tokenizers import Tokenizer
from torch import Tensor
from transformers import MistralConfig, MistralForCausalLM

from linocut.errors import CheckpointInvalid, DoesNotFit
from linocut.model.text_encoder import TextEncoder
from linocut.prompt.tokenizer import PromptTokenizer
from linocut.safety.policy import Finding
from linocut.weights.files import Checkpoint
from linocut.weights.headers import Stored
from linocut.weights.language_model import DEV_LAYERS, HINT, find_language_model
from linocut.weights.names import text_prefix
from linocut.weights.parts import Part

ANSWERS: Final = ("yes", "no")
SYSTEM: Final = (
    "You look at requests to a program that draws pictures. You answer with one word: yes or no."
)
QUESTIONS: Final[Mapping[str, str]] = {
    "sexual": "Does the request ask for nudity or for sexual content of any kind?",
    "violence": "Does the request ask for gore, cruelty or the praise of hatred?",
    "rights": "Does the request ask for a living public person, for a character that is under "
    "copyright, or for a trademark?",
}
_ASKED: Final = "{question}\n\nThe request:\n{prompt}\n\n{question} Answer yes or no."


class TextEncoderCheck:
    """A whole language model that says yes or no. Made by `TextEncoderCheck.open`."""

    def __init__(self, model: MistralForCausalLM, tokenizer: Tokenizer) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._answers = [self._single(word) for word in ANSWERS]

    @classmethod
    def open(
        cls,
        checkpoint: Checkpoint,
        tokenizer: PromptTokenizer,
        drawing: TextEncoder,
        *,
        least_layers: int = DEV_LAYERS,
    ) -> TextEncoderCheck:
        """The check of a loaded checkpoint, beside the encoder that draws.

        drawing: its tensors are used again, where they are and as they are, so that only the rest
        is read; they stay in memory as long as this check does. Raises CheckpointInvalid where
        the encoder cannot answer, DoesNotFit where the memory is too small.
        """
        words = drawing.model.embed_tokens.weight
        model = load_language_model(
            checkpoint,
            device=words.device,
            dtype=words.dtype,
            shared=drawing,
            least_layers=least_layers,
        )
        return cls(model, tokenizer.tokenizer)

    def check(self, text: str) -> Finding | None:
        """The first question that is answered with yes; None if none is."""
        for category, question in QUESTIONS.items():
            score = self.score(text, question)
            if score > 0.5:
                return Finding("prompt", category, score)
        return None

    def score(self, text: str, question: str) -> float:
        """How likely "yes" is, where only "yes" and "no" are allowed.

        Raises CheckpointInvalid for an answer that is no number: it must not pass as a no.
        """
        likely = self.logits(self.ids(text, question)).softmax(0)[0].item()
        if math.isnan(likely):
            raise CheckpointInvalid(
                "the text encoder answers neither yes nor no: its logits are no numbers",
                hint=HINT,
            )
        return likely

    @torch.inference_mode()
    def logits(self, ids: list[int]) -> Tensor:
        """The logits of "yes" and "no" as the next word, in fp32. [2]"""
        ids_BT = torch.tensor([ids], device=self._model.device)
        output = self._model(input_ids=ids_BT, use_cache=False, logits_to_keep=1)
        answers: Tensor = output.logits[0, -1, self._answers]
        return answers.float()

    def ids(self, text: str, question: str) -> list[int]:
        """The conversation's token ids; markers of conversations in the text are taken out."""
        asked = _ASKED.format(question=question, prompt=self._without_markers(text))
        said = f"<s>[SYSTEM_PROMPT]{SYSTEM}[/SYSTEM_PROMPT][INST]{asked}[/INST]"
        return list(self._tokenizer.encode(said, add_special_tokens=False).ids)

    def _without_markers(self, text: str) -> str:
        added = self._tokenizer.get_added_tokens_decoder().values()
        markers = [re.escape(token.content) for token in added if token.special]
        kept = ""
        while markers and kept != text:  # what is left may join to a marker again
            kept, text = text, re.sub("|".join(markers), "", text)
        return text

    def _single(self, word: str) -> int:
        ids = self._tokenizer.encode(word, add_special_tokens=False).ids
        if len(ids) != 1:
            raise CheckpointInvalid(f"the tokenizer has no single token for {word!r}: {ids}")
        return int(ids[0])


def load_language_model(
    checkpoint: Checkpoint,
    *,
    device: torch.device,
    dtype: torch.dtype,
    shared: TextEncoder | None = None,
    least_layers: int = DEV_LAYERS,
) -> MistralForCausalLM:
    """Every layer of the text encoder and its word head, ready to run.

    FLUX.2 [dev] in bf16: 47.1 GB in all, 12.5 GB of it besides what `shared` holds already.
    Raises CheckpointInvalid, DoesNotFit.
    """
    part = find_language_model(checkpoint, least_layers=least_layers)
    with torch.device("meta"):
        model = MistralForCausalLM(_config(checkpoint))
    stored = _stored(part, model)
    held = {} if shared is None else dict(shared.model.state_dict())
    state = {f"model.{name}": tensor for name, tensor in held.items()}
    missing = {name: tensor for name, tensor in stored.items() if name not in state}
    _check_room(missing, device, dtype)
    opened: dict[Path, Any] = {}
    for name, one in missing.items():
        if one.file not in opened:
            opened[one.file] = safe_open(one.file, framework="pt", device="cpu")
        state[name] = opened[one.file].get_tensor(one.name).to(device=device, dtype=dtype)
    model.load_state_dict(state, strict=True, assign=True)
    # The rotary frequencies are computed, not stored, and stay fp32 in every dtype.
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config).to(device)
    return model.eval().requires_grad_(False)


def _config(checkpoint: Checkpoint) -> MistralConfig:
    config = MistralConfig(**checkpoint.text_config)
    config.tie_word_embeddings = False  # the head is a tensor of its own, or there is none
    config._attn_implementation = "sdpa"
    return config


def _stored(part: Part, model: MistralForCausalLM) -> dict[str, Stored]:
    """Where each of the model's tensors is; CheckpointInvalid if one is missing or misshapen."""
    tensors = part.tensors
    prefix = text_prefix(tensors)
    found = {}
    for name, empty in model.state_dict().items():
        theirs = f"{prefix}{name.removeprefix('model.')}"
        if name == "lm_head.weight":
            theirs = next((one for one in tensors if one.endswith(name)), name)
        if theirs not in tensors:
            raise CheckpointInvalid(
                f"{part.where} lacks {theirs}, which answering a question needs", hint=HINT
            )
        if tensors[theirs].shape != tuple(empty.shape):
            raise CheckpointInvalid(
                f"{part.where}: {theirs} has the shape {tensors[theirs].shape}; "
                f"the configuration asks for {tuple(empty.shape)}"
            )
        found[name] = tensors[theirs]
    return found


def _check_room(missing: Mapping[str, Stored], device: torch.device, dtype: torch.dtype) -> None:
    """Nothing, or DoesNotFit: whether a GPU has room for these tensors."""
    if device.type != "cuda":
        return
    wanted = dtype.itemsize * sum(math.prod(one.shape) for one in missing.values())
    free, _ = torch.cuda.mem_get_info(device)
    if wanted > free:
        raise DoesNotFit(
            f"asking the text encoder needs {wanted / 1e9:.1f} GB more on {device}, "
            f"where {free / 1e9:.1f} GB are free",
            hint="use the other prompt check, which needs no model: safety_model=terms",
        )
