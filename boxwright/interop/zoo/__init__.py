"""The published models of this family: names, addresses, published accuracy, checksums."""

from boxwright.interop.zoo.models import Checksum, ZooModel, all_models, find_model, is_model_name

__all__ = ["Checksum", "ZooModel", "all_models", "find_model", "is_model_name"]
