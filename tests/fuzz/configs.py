"""Small configs of every dialect, and what feeding one to the readers may do. The long run is

    python -m tests.fuzz.configs --minutes 10             all kinds of texts
    python -m tests.fuzz.configs python --minutes 10      one of words, yaml, python

Whatever the text is, the readers return settings or raise ConfigError.
"""

import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from boxwright.errors import ConfigError
from boxwright.interop.config import read_config_report
from tests.fuzz.hostile_configs import hostile_python, hostile_yaml
from tests.fuzz.long_run import LongRun, Read
from tests.interop.detectron_text import FPN

DETECTRON = (
    FPN.replace("FASTER_RCNN: True", "FASTER_RCNN: True\n  MASK_ON: True")
    + """\
  DATASETS: ('coco_2014_train', 'coco_2014_valminusminival')
MRCNN: {ROI_MASK_HEAD: mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs, ROI_XFORM_RESOLUTION: 14, RESOLUTION: 28}
TEST:
  NMS: 0.5
  RPN_PRE_NMS_TOP_N: 1000
"""
)
DETECTRON2 = """\
_BASE_: "../Base-RCNN-FPN.yaml"
VERSION: 2
MODEL:
  WEIGHTS: "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
  MASK_ON: True
  RESNETS:
    DEPTH: 50
    DEFORM_ON_PER_STAGE: [False, True, True, True]
  ROI_HEADS: {NUM_CLASSES: 8, SCORE_THRESH_TEST: 0.05}
  ANCHOR_GENERATOR:
    SIZES: !!python/object/apply:eval ["[[x, x * 2**(1.0/3)] for x in [32, 64, 128, 256, 512]]"]
SOLVER:
  STEPS: (210000, 250000)
  MAX_ITER: 270000
INPUT:
  MIN_SIZE_TRAIN: (640, 672, 704)
"""
LAZY = """\
from detectron2.config import LazyCall as L
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler
from ..common.models.mask_rcnn_fpn import model
from ..common.data.coco import dataloader
from ..common.optim import SGD as optimizer
from ..common.train import train
model.backbone.bottom_up.freeze_at = 0
model.roi_heads.box_head.conv_dims = [256] * 4
model.roi_heads.num_classes = len([1, 2, 3])
optimizer.lr = 0.1 if True else 0.2
train.max_iter = 90000 // 2
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[30000, 45000]),
    warmup_length=500 / train.max_iter, warmup_factor=0.067)
"""
MMDETECTION = """\
_base_ = ['../_base_/models/faster-rcnn_r50_fpn.py', '../_base_/datasets/coco_detection.py',
          '../_base_/schedules/schedule_1x.py', '../_base_/default_runtime.py']
classes = ('cat', 'dog')
scale = 400 * 2
model = dict(
    backbone=dict(depth=101, norm_cfg=dict(type='BN', requires_grad=False), style='caffe'),
    roi_head=dict(bbox_head=dict(
        num_classes=len(classes), reg_decoded_bbox=True, loss_bbox=dict(_delete_=True, type='GIoULoss'))),
    test_cfg=dict(rcnn=dict(score_thr=0.05, nms=dict(type='soft_nms', iou_threshold=0.5))))
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(1333, scale), keep_ratio=True), dict(type='RandomFlip', prob=0.5)]
train_dataloader = dict(batch_size=4, dataset=dict(metainfo=dict(classes=classes), ann_file=f'{scale}.json'))
optim_wrapper = dict(optimizer=dict(lr=0.02 / 8))
"""
MMDETECTION_2 = """\
_base_ = './mask_rcnn_r50_fpn_1x_coco.py'
data = dict(samples_per_gpu=2, train=dict(ann_file='a.json', img_prefix='a/'))
optimizer = dict(type='SGD', lr=0.02, momentum=0.9)
lr_config = dict(policy='step', warmup='linear', warmup_iters=500, step=[8, 11])
runner = dict(type='EpochBasedRunner', max_epochs=12)
"""
JSON = '{"_base_": "./retinanet_r50_fpn_1x_coco.py", "model": {"bbox_head": {"num_classes": 3}}, "a": [1, 2.5, null]}'
FLAT = "MODEL.CONV_BODY = ResNet.ResNet50_conv4_body\nFAST_RCNN.ROI_BOX_HEAD = ResNet.add_ResNet_roi_conv5_head\n"
TORCHVISION = "maskrcnn_resnet50_fpn(num_classes=5, min_size=480, weights=None)"
OURS = "base: mask_rcnn_r50_fpn\nmodel:\n  num_classes: 3\n  class_names: [a, b, c]\ntrain: {lr: 0.01}\n"

SEEDS = {
    "detectron": DETECTRON,
    "detectron2": DETECTRON2,
    "lazy": LAZY,
    "mmdetection": MMDETECTION,
    "mmdetection 2": MMDETECTION_2,
    "json": JSON,
    "flat": FLAT,
    "torchvision": TORCHVISION,
    "ours": OURS,
}
TOKEN = re.compile(r"\w+(?:\.\w+)*|\s+|.")
ODD = (
    *(
        "",
        "None",
        "True",
        "-1",
        "0",
        "1e999",
        "nan",
        "9" * 400,
        "2**99999999",
        "''",
        "'" * 3,
        "[]",
        "{}",
        "()",
        "[[[",
        "}",
    ),
    *(
        ":",
        "&a",
        "*a",
        "!!python/object:os.system",
        "<<",
        "\\",
        "\0",
        "\u2028",
        "\ud800",
        "#",
        "...",
        "---",
        "\t",
        "%",
        "é",
    ),
    *(
        "lambda: 0",
        "dict(**x)",
        "[x for x in x]",
        "f'{x!r:>{y}}'",
        "_base_",
        "_delete_=True",
        "__import__('os')",
        "*",
        "@",
    ),
)
# Texts that cost a careless reader memory, time or its stack.
BOMBS = {
    "aliases": "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60)),
    "merge keys": "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 60)),
    "an alias of itself": "MODEL: &a\n  X: *a\n",
    "deep lists": "MODEL: " + "[" * 100_000,
    "deep maps": "MODEL: " + "{a: " * 50_000,
    "deep indents": "".join(" " * i + f"a{i}:\n" for i in range(2_000)),
    "deep JSON": '{"model": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "deep Python": "model = " + "(" * 100_000 + ")" * 100_000 + "\n",
    "deep calls": "model = " + "dict(a=" * 5_000 + "1" + ")" * 5_000 + "\n",
    "deep sums": "model = dict(type='RPN')\nx = " + "+".join(["1"] * 100_000) + "\n",
    "deep attributes": "model = x" + ".a" * 100_000 + "\n",
    "a huge integer": "SOLVER:\n  MAX_ITER: " + "9" * 1_000_000 + "\n",
    "a huge integer in Python": "model = dict(type='RPN')\nx = " + "9" * 1_000_000 + "\n",
    "a huge power": "model = dict(type='RPN', a=9**9**9)\n",
    "a huge shift": "model = dict(type='RPN', a=1 << 10**9)\n",
    "a huge list": "model = dict(type='RPN', a=[0] * 10**10)\n",
    "huge nested lists": "model = dict(type='RPN', a=[[[0] * 10**4] * 10**4] * 10**4)\n",
    "a huge text": "model = dict(type='RPN', a='x' * 10**10)\n",
    "doubled texts": "model = dict(type='RPN')\na = 'xxxxxxxxxx'\n" + "a = a + a\n" * 60,
    "doubled lists": "model = dict(type='RPN')\na = [1]\n" + "a = [a, a]\n" * 60,
    "a huge format": "model = dict(type='RPN', a=f'{1:>9999999999}')\n",
    "a huge percent format": "model = dict(type='RPN', a='%9999999999d' % 1)\n",
    "compared lists": "model = dict(type='RPN')\na = [1]\nb = [1]\n" + "a = [a, a]\nb = [b, b]\n" * 40 + "c = a == b\n",
    "written lists": "model = dict(type='RPN')\na = [1]\n" + "a = [a, a]\n" * 40 + "c = f'{a}'\n",
    "a list that holds itself": "a = [1]\na.append(a)\nb = str(a)\nmodel = dict(type='RPN', a=a)\n",
    "doubled interpolations": "model: {_target_: RetinaNet}\n"
    + "".join(f"a{i}: ['${{a{i + 1}}}', '${{a{i + 1}}}']\n" for i in range(40))
    + "a40: 1\n",
    "a huge range": "model = dict(type='RPN', a=list(range(10**12)))\n",
    "nested comprehensions": "x = [0] * 1000\nmodel = dict(a=[[[1 for a in x] for b in x] for c in x])\n",
    "a base that is itself": "_base_ = './config'\nmodel = dict(type='RPN')\n",
    "interpolation in a circle": "model: {_target_: GeneralizedRCNN, a: '${model.b}', b: '${model.a}'}\n",
    "many keys": "MODEL:\n" + "".join(f"  K{i}: {i}\n" for i in range(100_000)),
    "a huge sexagesimal": "SOLVER:\n  BASE_LR: " + "1:" * 10_000 + "1\n",
    "many anchors": "".join(f"k{i}: &k{i} 1\n" for i in range(50_000)),
    "torchvision": "maskrcnn_resnet50_fpn(num_classes=" + "(" * 10_000 + "1" + ")" * 10_000 + ")",
    "a long word": "MODEL:\n  " + "A" * 1_000_000 + ": 1\n",
    "a long key that is nearly known": "MODEL:\n  MASK_ON" + "N" * 20_000 + ": 1\n",
}


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", errors="surrogatepass")


def feed(data: bytes, path: Path, read: Read = read_config_report) -> bool:
    """Whether the readers accept `data` as a file. Every error but ours comes through."""
    path.write_bytes(data)
    try:
        read(path)
    except ConfigError:
        return False
    return True


def mutate(text: str, chance: random.Random) -> str:
    """A few words changed, cut, repeated or exchanged."""
    tokens = TOKEN.findall(text)
    for _ in range(chance.randint(1, 5)):
        if not tokens:
            break
        place, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        match chance.randrange(6):
            case 0:
                tokens[place] = chance.choice(ODD)
            case 1:
                del tokens[place : place + chance.randint(1, 8)]
            case 2:
                tokens[place:place] = tokens[other : other + chance.randint(1, 8)]
            case 3:
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case 4:
                tokens.insert(place, chance.choice(ODD))
            case 5:
                tokens[place] = str(chance.choice((-1, 0, 1, 3, 10**6, 2**63, 10**30, 0.5, -1e300)))
    return "".join(tokens)


def changed(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    return as_bytes(mutate(chance.choice(seeds).decode(), chance))


KINDS = {
    "words": changed,
    "yaml": lambda chance, seeds: as_bytes(hostile_yaml(chance)),
    "python": lambda chance, seeds: as_bytes(hostile_python(chance)),
}


def main() -> None:
    """A kind alone where its name is the first argument, else each for its share of the time, by turns."""
    kind = KINDS[sys.argv.pop(1)] if sys.argv[1:2] and sys.argv[1] in KINDS else None
    LongRun(
        seeds=[as_bytes(text) for text in SEEDS.values()],
        changed=kind or (lambda chance, seeds: chance.choice(list(KINDS.values()))(chance, seeds)),
        feed=feed,
        module="boxwright.interop.config",
        reader="read_config_report",
        failure="fuzz-failure.txt",
    ).main(__doc__)


if __name__ == "__main__":
    main()
