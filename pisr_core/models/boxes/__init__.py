"""Instances as masks in boxes: Panoptic FPN.

Training: an annotation becomes a stuff map and boxes with classes and masks (`targets.py`); the semantic branch has its
loss in `losses.py`, boxes and masks have torchvision's (`regions.py`).

Forward (`panoptic_fpn.py`, the paper's Fig. 2): backbone → pyramid and semantic branch (`pyramid.py`) → F; proposals →
initial heads (`regions.py`) → S and detections, whose pasted masks are I (`instances.py`) → relation → F_pan → final
heads.

After it: detections are laid on the stuff (`merging.py`); an exported graph does the same with fixed shapes
(`exporting.py`, `fixed_regions.py`), several views of an image become one (`views.py`).
"""
