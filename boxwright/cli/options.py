"""Options and arguments that several verbs have, each with its one help text."""

from pathlib import Path
from typing import Annotated

import typer

from boxwright.cli.precision import HELP as PRECISION_HELP

DataArgument = Annotated[str, typer.Argument(help="A folder, an annotation file, or a name such as coco_2017_val.")]
TrainingDataOption = Annotated[str | None, typer.Option("--data", "-d", help="A folder in any known layout.")]
SplitOption = Annotated[str, typer.Option(help="Which split of the data.")]
RootOption = Annotated[Path | None, typer.Option(help="Where known data sets lie.")]
NamedRootOption = Annotated[Path | None, typer.Option(help="Where named data sets lie.")]
WeightsOption = Annotated[str | None, typer.Option("--weights", "-w", help="A checkpoint of any known source.")]
KindsOption = Annotated[list[str] | None, typer.Option("--kind", help="box, mask or keypoint; else all there is.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Images of one padded size that run together.")]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")]
TrainingDeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda, ...")]
PrecisionOption = Annotated[str, typer.Option(help=PRECISION_HELP)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
