"""A device that is not this processor and computes on it all the same: it tells what would meet.

Whoever computes on a GPU must not mix its tensors with the processor's. Tensors of the device
"elsewhere" refuse to be mixed as a GPU's do, and are counted with here, to the same numbers. That
needs no GPU, and shows that nothing was left behind, or sent over too late. It does not show that
a GPU computes the same, how fast, or in how much memory.

Once this is imported PyTorch knows the device, in all of the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

aten = torch.ops.aten
MOVES: Final = (aten.copy_.default, aten._to_copy.default)  # from one device to the other
# Of these only the indices may be here where the rest is elsewhere, never the other way round.
INDEXES: Final = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
JOINS: Final = (aten.stack.default, aten.cat.default)  # which take not even single numbers
HERE: Final = torch.device("cpu")


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend("elsewhere", backend_module=_Backend())
ELSEWHERE: Final = torch.device("elsewhere:0")


class Away(Tensor):
    """A tensor elsewhere, which is `held` here."""

    held: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        away = Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=ELSEWHERE,
        )  # fmt: skip
        away.held = held
        return away

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return _computed(func, args, kwargs or {})

    def tolist(self) -> Any:
        """Its numbers, which PyTorch has for no tensor of another class."""
        return self.held.tolist()


class Elsewhere(TorchDispatchMode):
    """A context in which tensors can be made elsewhere, and sent there."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return _computed(func, args, kwargs or {})


def brought_back(values: Any) -> Any:
    """The same lists, dicts and tuples, with what is elsewhere here."""
    return tree_map_only(Away, lambda it: it.held, values)


def sent(values: Any) -> Any:
    """The same lists, dicts and tuples, their tensors elsewhere."""
    return tree_map_only(Tensor, Away, values)


def _computed(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    leaves = tree_leaves((args, kwargs))
    tensors = [it for it in leaves if isinstance(it, Tensor)]
    away = {id(it.held): it for it in tensors if isinstance(it, Away)}
    devices = [it for it in leaves if isinstance(it, torch.device)]
    _refuse_mixtures(func, args, tensors)

    def here(it: Any) -> Any:
        return it.held if isinstance(it, Away) else HERE

    mine, named = tree_map_only((Away, torch.device), here, (args, kwargs))
    result = func(*mine, **named)
    if func is aten._local_scalar_dense.default:
        return result
    if func is aten.copy_.default:
        goes = isinstance(args[0], Away)
    else:
        goes = devices[0].type == ELSEWHERE.type if devices else bool(away)
    # A part of a tensor made outside of inference mode is none of inference mode's either.
    is_part = any(it.alias_info for it in func._schema.returns)
    is_inference = torch.is_inference_mode_enabled() and not (
        is_part and not all(it.is_inference() for it in tensors)
    )

    def there(it: Tensor) -> Tensor:
        if id(it) in away:  # changed in place
            return away[id(it)]
        with torch.inference_mode(is_inference):
            return Away(it)

    return tree_map_only(Tensor, there, result) if goes else result


def _refuse_mixtures(func: Callable[..., Any], args: Any, tensors: list[Tensor]) -> None:
    """RuntimeError, as on a GPU; single numbers of the processor may meet most things."""
    if func in MOVES or not any(isinstance(it, Away) for it in tensors):
        return
    others = [it for it in tensors if not isinstance(it, Away)]
    if func in INDEXES:
        itself, _, *values = args
        others = [
            it for it in (itself, *values) if isinstance(it, Tensor) and not isinstance(it, Away)
        ]
        allowed = isinstance(itself, Away) and not any(it.dim() for it in others)
    else:
        allowed = not any(it.dim() or func in JOINS for it in others)
    if not allowed:
        where = ", ".join(
            f"{list(it.shape)} {'elsewhere' if isinstance(it, Away) else 'here'}" for it in tensors
        )
        raise RuntimeError(f"{func}: tensors on two devices: {where}")


# What PyTorch asks a device for below all of the above: indexing with lists.
def _empty(size: Any, dtype: Any = None, *_: Any, **__: Any) -> Tensor:
    return Away(torch.empty(size, dtype=dtype, device=HERE))


def _empty_strided(size: Any, stride: Any, dtype: Any = None, *_: Any, **__: Any) -> Tensor:
    return Away(torch.empty_strided(size, stride, dtype=dtype, device=HERE))


def _copy_from(source: Tensor, target: Tensor, *_: object) -> Tensor:
    brought_back(target).copy_(brought_back(source))
    return target


_KERNELS = torch.library.Library("aten", "IMPL")
_KERNELS.impl("empty.memory_format", _empty, "PrivateUse1")
_KERNELS.impl("empty_strided", _empty_strided, "PrivateUse1")
_KERNELS.impl("_copy_from", _copy_from, "PrivateUse1")
