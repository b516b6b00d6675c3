"""What benchmarks ask of a device, without one."""

import pytest
import torch

from benchmarks.device import CPU, device_of, exact_products, peak_megabytes


def test_without_a_card_the_device_is_missed_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("cpu") == CPU
    with pytest.raises(SystemExit, match=r"^--device cuda needs a CUDA device, and torch finds none here\.$"):
        device_of("cuda")


def test_products_are_exact_inside_the_block_alone():
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    with exact_products():
        assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == (False, False)
    with pytest.raises(ValueError, match="of the block"), exact_products():
        raise ValueError("of the block")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


def test_a_peak_counts_what_the_model_and_its_calls_hold_and_not_what_was_there(monkeypatch):
    card = Card(held=900_000_000)  # the other side's 300 MB, and 600 MB of this side's model

    def step():
        card.peak = max(card.peak, card.held + 1_500_000_000)

    card.peak = 9_000_000_000  # of a row before
    for name in ("empty_cache", "memory_allocated", "max_memory_allocated", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, getattr(card, name))
    assert peak_megabytes(step, torch.device("cuda"), held_before=300.0) == 2100.0
    assert peak_megabytes(step, CPU, held_before=0.0) is None


class Card:
    def __init__(self, *, held):
        self.held = self.peak = held

    def empty_cache(self):
        pass

    def memory_allocated(self, device):
        return self.held

    def max_memory_allocated(self, device):
        return self.peak

    def reset_peak_memory_stats(self, device):
        self.peak = self.held
