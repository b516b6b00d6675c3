"""Types of mmdetection that are known and not in the family, or that training here goes without."""

_NOT_HERE = "which is not in the family"
UNKNOWN: dict[str, str] = {
    **dict.fromkeys(
        (
            *("RegNet", "Res2Net", "ResNeSt", "HRNet", "SwinTransformer", "PyramidVisionTransformerV2", "CSPDarknet"),
            *(
                "DetectoRS_ResNet",
                "DetectoRS_ResNeXt",
                "TridentResNet",
                "EfficientNet",
                "HRFPN",
                "NASFPN",
                "FPN_CARAFE",
            ),
            *(
                "FPG",
                "NASFCOS_FPN",
                "BFP",
                "RFP",
                "DyHead",
                "FCOSHead",
                "GARPNHead",
                "GARetinaHead",
                "StageCascadeRPNHead",
            ),
            *("CascadeRPNHead", "HybridTaskCascadeRoIHead", "GridRoIHead", "PointRendRoIHead", "MaskScoringRoIHead"),
            *("DynamicRoIHead", "DoubleHeadRoIHead", "TridentRoIHead", "PISARoIHead", "SparseRoIHead", "SCNetRoIHead"),
            *("DoubleConvFCBBoxHead", "SABLHead", "HTCMaskHead", "CoarseMaskHead", "GridHead", "GenericRoIExtractor"),
            *("SeesawLoss", "BalancedL1Loss", "BoundedIoULoss", "GHMC", "GHMR", "DeformRoIPoolPack", "DeformRoIPool"),
            *("ModulatedDeformRoIPoolPack", "InstanceBalancedPosSampler", "IoUBalancedNegSampler", "CombinedSampler"),
            *(
                "ScoreHLRSampler",
                "ATSSAssigner",
                "ApproxMaxIoUAssigner",
                "HungarianAssigner",
                "BN3d",
                "ConvNeXt",
                "SingleStageDetector",
            ),
        ),
        _NOT_HERE,
    ),
    "LegacyAnchorGenerator": "which has the boxes of mmdetection 1, with the +1 in some places only",
    "LegacyDeltaXYWHBBoxCoder": "which has the boxes of mmdetection 1, with the +1 in some places only",
}

# Augmentations that training here is without: known, noted in the report, not an error.
LEFT_OUT = (
    *("Albu", "AutoAugment", "AutoContrast", "Brightness", "CachedMixUp", "CachedMosaic", "Color", "ColorTransform"),
    *(
        "Contrast",
        "CopyPaste",
        "CutOut",
        "Equalize",
        "Expand",
        "GeomTransform",
        "InstaBoost",
        "Invert",
        "MinIoURandomCrop",
    ),
    *("MixUp", "Mosaic", "PhotoMetricDistortion", "Posterize", "RandAugment", "RandomAffine", "RandomCenterCropPad"),
    *("RandomChoice", "RandomErasing", "RandomOrder", "RandomShift", "Rotate", "SegRescale", "Sharpness", "ShearX"),
    *("ShearY", "Solarize", "SolarizeAdd", "TranslateX", "TranslateY", "YOLOXHSVRandomAug", "Corrupt", "CropRandom"),
)
