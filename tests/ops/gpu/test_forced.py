"""Forcing the gpu backend: it runs, or says in a sentence why it cannot. And nobody who needs no GPU loads Triton."""

import os
import subprocess
import sys

import pytest
import torch

from boxwright import ops
from boxwright.errors import BackendError
from boxwright.ops import dispatch


def run_python(program, **environment):
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**kept, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BOXES = "import torch; from boxwright import ops; boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2]])\n"
FORCED = """
try:
    with ops.use_backend('gpu'): print(ops.box_iou(boxes, boxes)[0, 1].item(), ops.which_ran()['box_iou'])
except Exception as error: print(type(error).__name__, error)
"""


def test_triton_is_loaded_only_when_a_gpu_op_runs():
    program = BOXES + "import sys; ops.box_iou(boxes, boxes); print('triton' in sys.modules)"
    assert run_python(program) == "False"


def test_interpreted_kernels_run_on_the_cpu_when_forced_and_only_then():
    unforced = "ops.box_iou(boxes, boxes); print(ops.which_ran()['box_iou'])\n"
    found = run_python(BOXES + unforced + FORCED, TRITON_INTERPRET="1").split("\n")
    assert found[0] == "cpu"
    assert float(found[1].split()[0]) == pytest.approx(1 / 3)
    assert found[1].endswith(" gpu")


def test_the_interpreter_must_be_chosen_before_triton_is_loaded():
    late = "import os, triton; os.environ['TRITON_INTERPRET'] = '1'\n"
    said = run_python(late + BOXES + FORCED)
    assert said.startswith("BackendError box_iou: the gpu backend is forced, but cannot run")
    assert said.endswith("(TRITON_INTERPRET was changed after triton was imported; set it before Python starts)")
    late = "import os, boxwright.ops.gpu.iou; os.environ['TRITON_INTERPRET'] = '1'\n"
    said = run_python(late + BOXES + FORCED)
    assert said.endswith("TRITON_INTERPRET=1 was set after its kernels were made; set it before Python starts")


def test_without_triton_it_says_so():
    absent = "import sys; sys.modules['triton'] = None\n"
    said = run_python(absent + BOXES + FORCED, TRITON_INTERPRET="1")
    assert said.startswith("BackendError box_iou: the gpu backend is forced, but cannot run: boxwright.ops.gpu.iou")
    assert "triton" in said
    reason = run_python(absent + BOXES + "print(ops.backend_for('box_iou', 'cuda'))")
    assert "backend='reference', reason='plain torch: boxwright.ops.gpu.iou cannot be imported" in reason


@pytest.mark.parametrize(
    ("device", "remedy"), [("cpu", "set TRITON_INTERPRET=1 first"), ("mps", r"move them with \.cuda\(\)")]
)
def test_tensors_elsewhere_are_refused(monkeypatch, device, remedy):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    expected = f"roi_align: the gpu backend is forced, but the tensors are on '{device}'; {remedy}"
    with ops.use_backend("gpu"), pytest.raises(BackendError, match=expected):
        ops.backend_for("roi_align", device)


def test_run_lengths_are_made_on_the_host():
    masks, boxes = torch.ones(1, 4, 4), torch.tensor([[1.0, 1, 5, 5]])
    choice = ops.backend_for("paste_masks_rle", "cuda")
    assert (choice.backend, choice.reason) == ("cpu", "Numba kernels: run lengths are made in the host's memory")
    expected = "paste_masks_rle: the gpu backend is forced, but run lengths are made in the host's memory; force 'cpu'"
    with ops.use_backend("gpu"), pytest.raises(BackendError, match=expected):
        ops.paste_masks_rle(masks, boxes, (8, 8))


@pytest.mark.parametrize("op", [op for op in ops.OPS if op not in dispatch._ON_HOST])
def test_every_other_op_has_a_kernel_for_the_gpu(op):
    choice = ops.backend_for(op, "cuda:0")
    assert (choice.backend, choice.reason) == ("gpu", "Triton kernels for device type 'cuda'")
