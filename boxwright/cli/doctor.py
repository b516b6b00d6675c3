"""`boxwright doctor`: what is installed, which devices there are, what each op runs on and why, what is missing."""

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from boxwright.cli.console import print_json, print_table
from boxwright.cli.options import JsonOption

app = typer.Typer(add_completion=False)

# What the CPU kernels and bf16 inference gain most from, as Linux names it
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8")

Plain = dict[str, Any]


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Print versions, devices, the backend of each op and why, and what is missing.

    Example:

      boxwright doctor
    """
    report = examine()
    if as_json:
        print_json(report)
    else:
        _print_report(report)


def examine() -> Plain:
    """Everything `boxwright doctor` says, as plain values."""
    import boxwright

    packages = find_packages()
    return {
        "boxwright": boxwright.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": packages[""],
        "extras": {extra: found for extra, found in packages.items() if extra},
        "cpu": examine_cpu(),
        "cuda": examine_cuda(),
        "ops": examine_ops(),
        "missing": find_missing(packages),
    }


def find_packages() -> dict[str, dict[str, str | None]]:
    """Extra ("" for what is always needed) -> package -> installed version, None where it is absent.

    Read from the installed metadata of boxwright, where pyproject.toml ends up.
    """
    found: dict[str, dict[str, str | None]] = {"": {}}
    for requirement in metadata.requires("boxwright") or ():
        name = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if name is not None and name[0] != "boxwright":
            found.setdefault(extra[1] if extra else "", {})[name[0]] = _version(name[0])
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def find_missing(packages: dict[str, dict[str, str | None]]) -> list[dict[str, Any]]:
    """Each extra that is not complete, with the command that completes it."""
    missing = []
    for extra, found in packages.items():
        absent = [name for name, version in found.items() if version is None]
        if absent:
            target = f"boxwright[{extra}]" if extra else "boxwright"
            missing.append({"extra": extra, "packages": absent, "install": f"pip install '{target}'"})
    return missing


def examine_cpu() -> Plain:
    """Model, cores, threads, and what its instructions are good for."""
    import torch

    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    return {
        "model": model[1] if model else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
        "flags": [flag for flag in CPU_FLAGS if flag in has],
    }


def examine_cuda() -> Plain:
    """Whether there is a GPU, or why there is none, and what it rounds to TensorFloat32 where float32 is asked for."""
    import torch

    rounds = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "matrix products": torch.backends.cuda.matmul.allow_tf32,
    }
    if not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "torch finds no GPU"
        return {"devices": [], "why": why, "tf32": rounds}
    devices = []
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        memory = round(found.total_memory / 2**30, 1)
        devices.append({"name": found.name, "capability": f"{found.major}.{found.minor}", "memory_gib": memory})
    return {"devices": devices, "why": f"CUDA {torch.version.cuda}", "tf32": rounds}


def examine_ops() -> list[Plain]:
    """The backend of each op on each kind of device that is here."""
    import torch

    from boxwright.ops.dispatch import OPS, backend_for

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    choices = [(device, backend_for(op, device)) for device in devices for op in OPS]
    return [{"op": it.op, "device": device, "backend": it.backend, "reason": it.reason} for device, it in choices]


def _print_report(report: Plain) -> None:
    print_table("Versions", [(name, report[name]) for name in ("boxwright", "python", "platform")])
    print_table("Packages", [(name, version or "missing") for name, version in report["packages"].items()])
    print_table("Devices", [*_cpu_rows(report["cpu"]), *_cuda_rows(report["cuda"])])
    ops = [(it["op"], it["device"], it["backend"], it["reason"]) for it in report["ops"]]
    print_table("Ops, and the backend of each", ops)
    missing: list[tuple[str, ...]] = [(it["install"], f"for {', '.join(it['packages'])}") for it in report["missing"]]
    print_table("Missing", missing or [("nothing: all extras are installed",)])


def _cpu_rows(cpu: Plain) -> list[tuple[str, str]]:
    flags = ", ".join(cpu["flags"]) or f"none of {', '.join(CPU_FLAGS)}"
    return [
        ("CPU", f"{cpu['model']}, {cpu['cores']} cores; torch uses {cpu['torch_threads']} threads"),
        ("", f"has {flags}; torch uses {cpu['torch_kernels']}"),
    ]


def _cuda_rows(cuda: Plain) -> list[tuple[str, str]]:
    rows = [
        ("GPU", f"{found['name']}, {found['memory_gib']} GiB, compute capability {found['capability']}; {cuda['why']}")
        for found in cuda["devices"]
    ]
    rounds = ", ".join(f"{name} {'on' if is_on else 'off'}" for name, is_on in cuda["tf32"].items())
    return [*(rows or [("GPU", f"none: {cuda['why']}")]), ("", f"TensorFloat32 on a GPU: {rounds}")]
