"""Makes a function an op that torch knows by name, so that it is compiled, exported and traced as one.

What `torch.library.custom_op` does, but for importing torch's compiler at the first call, which takes as long as many
detections.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from boxwright.errors import BackendError


def register_op(name: str, *, has_gradient: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the function is `torch.ops.boxwright.<name>` on every device; its annotations are the schema.

    With `has_gradient` the caller registers one; otherwise differentiating is an error, not zeros.
    """
    full_name = f"boxwright::{name}"

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(full_name, schema, tags=(torch.Tag.pt2_compliant_tag,))
        torch.library.impl(full_name, "default", function)
        if not has_gradient:
            torch.library.register_autograd(full_name, _refuse(name))
        return function

    return register


def _refuse(name: str) -> Callable[..., Any]:
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise BackendError(f"{name} has no gradient; detach its inputs, or use torch.no_grad()")

    return backward


def register_fake(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: the shapes, types and layouts of an op's results, for tracing without data."""
    return torch.library.register_fake(f"boxwright::{name}")  # type: ignore[no-any-return]
