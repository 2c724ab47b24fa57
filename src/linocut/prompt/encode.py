"""Token ids to context rows.     B batch   T text tokens   C context channels"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from linocut.model.text_encoder import TextEncoder
from linocut.prompt.tokenizer import PromptIds, PromptTokenizer


@torch.inference_mode()
def encode(
    encoder: TextEncoder, prompt: PromptIds, tokenizer: PromptTokenizer, *, pads_are_zero: bool
) -> Tensor:
    """The context of a prompt, padded to the checkpoint's length. [1, max_tokens, C]

    pads_are_zero: `TextEncoder.pads_are_zero`, asked once at load. Where it holds and padding
    stands on the left, only the real tokens are run, standing where the padded prompt has them,
    and the other rows are zeros. (Padding on the right sees the words before it.)
    """
    device = encoder.model.embed_tokens.weight.device
    missing = tokenizer.max_tokens - len(prompt.ids)
    before, after = (missing, 0) if tokenizer.pads_left else (0, missing)
    if pads_are_zero and tokenizer.pads_left and prompt.ids:
        ids_BT = torch.tensor([prompt.ids], device=device)
        context = encoder(ids_BT, torch.ones_like(ids_BT), first_position=before)
        return F.pad(context, (0, 0, before, 0))
    pad = (tokenizer.pad_token_id,)
    ids_BT = torch.tensor([pad * before + prompt.ids + pad * after], device=device)
    mask_BT = torch.tensor([(0,) * before + (1,) * len(prompt.ids) + (0,) * after], device=device)
    padded: Tensor = encoder(ids_BT, mask_BT)
    return padded
