"""Data from nothing but a seed: scenes whose every pixel is known, and files of COCO's size for measuring readers.

generate(out, kind="shapes", images=500, seed=0)    pictures with boxes, masks, crowds, keypoints
annotations(path)                                   the annotation file of a set as large as COCO train2017
detections(folder)                                  ground truth and results of the size of COCO val2017
"""

from boxwright.data.synth.bulk import annotations, detections
from boxwright.data.synth.scene import Scene, Thing
from boxwright.data.synth.write import KINDS, Summary, draw_scene, generate

__all__ = ["KINDS", "Scene", "Summary", "Thing", "annotations", "detections", "draw_scene", "generate"]
