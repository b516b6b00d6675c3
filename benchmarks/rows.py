"""The rows of benchmarks/models.py: which model does what, in which precision, with how many images."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    model: str
    task: str
    precision: str = "fp32"
    batch: int = 1

    @property
    def name(self) -> str:
        return f"{self.model}, {self.task}, {self.precision}, batch {self.batch}"


ROWS = (
    Row("Faster R-CNN R50-FPN", "detection"),
    Row("Faster R-CNN R50-FPN", "detection", "bf16"),
    Row("Faster R-CNN R50-FPN", "detection", "int8"),
    Row("Faster R-CNN R50-FPN", "detection", batch=8),
    Row("Mask R-CNN R50-FPN", "detection"),
    Row("Mask R-CNN R50-FPN", "detection", "bf16"),
    Row("Keypoint R-CNN R50-FPN", "detection"),
    Row("Faster R-CNN MobileNetV3-FPN", "detection"),
    Row("Faster R-CNN R50-C4", "detection"),
    Row("Faster R-CNN R50-DC5", "detection"),
    Row("Cascade Mask R-CNN R50-FPN", "detection"),
    Row("Mask R-CNN R18-FPN GN", "detection"),
    Row("Mask R-CNN R18-FPN GN", "detection", "bf16"),
    Row("Mask R-CNN R50-FPN", "training", batch=2),
    Row("Mask R-CNN R50-FPN", "training", "bf16", batch=2),
    Row("Mask R-CNN R18-FPN GN", "training", batch=2),
    Row("Mask R-CNN R18-FPN GN", "training", "bf16", batch=2),
)
# What is wanted most comes first: a card is often lent for minutes.
GPU_ROWS = (
    *(
        Row(f"{model} R-CNN R50-FPN", "detection", precision, batch)
        for model in ("Faster", "Mask")
        for precision in ("fp32", "bf16")
        for batch in (1, 8)
    ),
    *(
        Row("Mask R-CNN R50-FPN", "training", precision, batch)
        for batch in (2, 8, 16)
        for precision in ("fp32", "bf16")
    ),
    Row("Mask R-CNN R18-FPN GN", "detection", "bf16"),
    Row("Mask R-CNN R18-FPN GN", "detection", "bf16", 8),
    Row("Mask R-CNN R18-FPN GN", "training", "bf16", 16),
    Row("Keypoint R-CNN R50-FPN", "detection", "bf16", 8),
    Row("Faster R-CNN MobileNetV3-FPN", "detection", "bf16", 8),
    Row("Cascade Mask R-CNN R50-FPN", "detection", "bf16", 8),
)


def rows_for(device_type: str, only: str = "") -> list[Row]:
    """Those for such a device whose names hold `only`."""
    return [row for row in (ROWS if device_type == "cpu" else GPU_ROWS) if only in row.name]
