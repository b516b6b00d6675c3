"""Kinds of numbers and lists with their bounds: a file from anywhere is read, and none may ask for absurd memory.

Lists are tuples, so that nothing in a setting can be changed in place; YAML and JSON know them as lists.
"""

from typing import Annotated, TypeVar

from pydantic import Field

T = TypeVar("T")

UpTo64 = Annotated[tuple[T, ...], Field(max_length=64)]
UpTo1024 = Annotated[tuple[T, ...], Field(max_length=1024)]

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=1e6)]
"""A rate, the weight of a loss, a factor that may be 0."""
Factor = Annotated[float, Field(gt=0, le=1e6)]
Number = Annotated[float, Field(ge=-1e6, le=1e6)]

Few = Annotated[int, Field(gt=0, le=64)]
"""The side of a kernel or of a pooled map, a factor of enlargement."""
Classes = Annotated[int, Field(gt=0, le=20_000)]
"""The largest vocabulary in use, V3Det's, has 13,204."""
Keypoints = Annotated[int, Field(gt=0, le=1024)]
Channels = Annotated[int, Field(gt=0, le=16_384)]
Side = Annotated[int, Field(gt=0, le=32_768)]
"""Pixels of a picture."""
Regions = Annotated[int, Field(gt=0, le=1_000_000)]
Images = Annotated[int, Field(gt=0, le=65_536)]
StepCount = Annotated[int, Field(gt=0, le=1_000_000_000)]

ClassNames = Annotated[tuple[str, ...], Field(max_length=20_000)]
