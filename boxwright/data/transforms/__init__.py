"""Steps that change a sample while training: geometry, colour, mixing of pictures, pipelines of Albumentations."""
