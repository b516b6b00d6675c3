"""Names of torchvision's ResNets, ResNeXts and MobileNetV3, in detectors and as ImageNet classifiers."""

from boxwright.interop.tables.rename import Pair

_MOBILENET_BLOCKS = 15
_SQUEEZED = {4, 5, 6, 11, 12, 13, 14, 15}  # torchvision's entries that have squeeze-and-excite
_NOT_EXPANDED = {1}


def resnet_pairs(theirs: str, ours: str) -> tuple[Pair, ...]:
    """Names of torchvision's ResNets, under a prefix, and ours."""
    prefix = f"{theirs}." if theirs else ""
    return (
        (f"{prefix}conv1.{{*p}}", f"{ours}.stem.{{*p}}"),
        (f"{prefix}bn1.{{*p}}", f"{ours}.stem.norm.{{*p}}"),
        (f"{prefix}layer{{l}}.{{b}}.conv{{i}}.{{*p}}", f"{ours}.c{{l+1}}.{{b}}.conv{{i}}.{{*p}}"),
        (f"{prefix}layer{{l}}.{{b}}.bn{{i}}.{{*p}}", f"{ours}.c{{l+1}}.{{b}}.conv{{i}}.norm.{{*p}}"),
        (f"{prefix}layer{{l}}.{{b}}.downsample.0.{{*p}}", f"{ours}.c{{l+1}}.{{b}}.shortcut.{{*p}}"),
        (f"{prefix}layer{{l}}.{{b}}.downsample.1.{{*p}}", f"{ours}.c{{l+1}}.{{b}}.shortcut.norm.{{*p}}"),
    )


def mobilenet_pairs(theirs: str, ours: str) -> tuple[Pair, ...]:
    """Names of torchvision's MobileNetV3, under a prefix, and ours."""
    pairs = _block(f"{theirs}.0", f"{ours}.stem")
    for i in range(1, _MOBILENET_BLOCKS + 1):
        parts = [] if i in _NOT_EXPANDED else ["expand"]
        parts += ["depthwise", "squeeze"] if i in _SQUEEZED else ["depthwise"]
        pairs += inverted_residual_pairs(f"{theirs}.{i}.block", f"{ours}.blocks.{i - 1}", [*parts, "project"])
    return (*pairs, *_block(f"{theirs}.{_MOBILENET_BLOCKS + 1}", f"{ours}.head"))


def inverted_residual_pairs(theirs: str, ours: str, parts: list[str]) -> tuple[Pair, ...]:
    """`parts` are ours in the order of torchvision's entries."""
    pairs: list[Pair] = []
    for position, part in enumerate(parts):
        if part == "squeeze":
            pairs.append((f"{theirs}.{position}.fc1.{{*p}}", f"{ours}.squeeze.reduce.{{*p}}"))
            pairs.append((f"{theirs}.{position}.fc2.{{*p}}", f"{ours}.squeeze.expand.{{*p}}"))
        else:
            pairs += _block(f"{theirs}.{position}", f"{ours}.{part}")
    return tuple(pairs)


def _block(theirs: str, ours: str) -> tuple[Pair, ...]:
    return ((f"{theirs}.0.{{*p}}", f"{ours}.{{*p}}"), (f"{theirs}.1.{{*p}}", f"{ours}.norm.{{*p}}"))
