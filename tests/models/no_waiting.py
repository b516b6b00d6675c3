"""A device without data, on which nothing can wait: tensors of "meta" raise where a value or a number is needed."""

import torch
from torch.overrides import TorchFunctionMode

META = torch.device("meta")


class NoWaiting(TorchFunctionMode):
    """Copies from the host must not wait either, said or unsaid."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        name, device = getattr(function, "__name__", ""), getattr(out, "device", None)
        if device == META:
            assert name not in ("tensor", "as_tensor", "new_tensor"), f"{name} copies to the device"
            if name == "__getitem__":
                places = args[1] if isinstance(args[1], tuple) else (args[1],)
                for place in places:
                    assert not isinstance(place, list), f"the index {place} is copied to the device"
                    assert getattr(place, "device", META) == META, "an index on the host is copied to the device"
            if name in ("to", "type", "type_as") and args[0].device != META:
                assert (kwargs or {}).get("non_blocking"), f"a copy of {tuple(args[0].shape)} {args[0].dtype} waits"
        return out
