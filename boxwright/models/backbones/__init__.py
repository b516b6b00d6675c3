"""Images in, feature maps by level out: ResNet and ResNeXt, EfficientNet, MobileNetV3, VGG-16."""
