"""ImageNet classifiers of torchvision, timm and mmcls as backbones."""
