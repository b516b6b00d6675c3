"""A step of training through Winograd's convolution: forwards and back to the input; weights learn as always."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from boxwright.ops.cpu.winograd import WinogradConv


class TrainedWinograd(torch.autograd.Function):
    """3x3, stride 1, padded by one; apply(x, weight, bias) in float32 on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """(N, C, H, W) in channels-last, (O, C, 3, 3), (O,) or None -> (N, O, H, W)."""
        ctx.save_for_backward(x, weight)
        ctx.has_bias = bias is not None
        return WinogradConv(weight.detach(), bias)(x, None, relu=False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """(N, O, H, W) -> gradients of x (by the kernel turned), weight and bias; None for those not wanted."""
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        of_x = of_weight = of_bias = None
        if needs_x:
            turned = weight.detach().flip(2, 3).transpose(0, 1)
            of_x = WinogradConv(turned, None)(grad, None, relu=False)
        if needs_weight or needs_bias:
            wanted = [False, needs_weight, needs_bias]
            place = ([1, 1], [1, 1], [1, 1], False, [0, 0], 1)
            sizes = [len(weight)] if ctx.has_bias else None
            _, of_weight, of_bias = torch.ops.aten.convolution_backward(grad, x, weight, sizes, *place, wanted)
        return of_x, of_weight, of_bias
