"""Between the host's memory and the device, without waiting for either."""

import torch
from torch import Tensor


def send(values: Tensor, device: torch.device) -> Tensor:
    """To a GPU through pinned memory: what is copied from elsewhere makes the host wait."""
    if device.type == "cuda" and values.device.type == "cpu":
        values = values.pin_memory()
    return values.to(device, non_blocking=True)


class Fetched:
    """Values on their way to the host."""

    def __init__(self, values: Tensor) -> None:
        self._values = values.detach()
        self._arrival: torch.cuda.Event | None = None
        if values.is_cuda:
            with torch.cuda.device_of(values):  # type: ignore[no-untyped-call]
                here = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
                self._values = here.copy_(self._values, non_blocking=True)
                self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._arrival.record()

    def wait(self) -> Tensor:
        """The values in the host's memory, once they are there."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._values
