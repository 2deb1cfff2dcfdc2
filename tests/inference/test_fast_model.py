import copy
import logging
import subprocess
import sys

import pytest
import torch
from timm.layers import FrozenBatchNormAct2d
from torch import nn
from torchvision.ops import Conv2dNormActivation, FrozenBatchNorm2d

from pisr_core import presets
from pisr_core.backbones import build_backbone
from pisr_core.config import BackboneConfig, PISRConfig
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.inference.fast_model import FastModel, fold_batch_norms
from pisr_core.inference.graphs import GraphedForward
from pisr_core.inference.mode import inference
from pisr_core.models import build_model
from pisr_core.relations import PISR
from pisr_core.structures import SemanticPrediction

CPU = torch.device("cpu")

MODELS = {
    "panoptic_deeplab": ("scenes-pdl-r18",),
    "separable": ("scenes-pdl-r18", 'backbone.name="resnet50s"', "deeplab.depthwise_separable=true"),
    "xception": ("scenes-pdl-r18", 'backbone.name="xception71"'),
    "frozen_norms": ("custom-pfpn-r18", "backbone.frozen_norms=true"),
    "maskformer": ("custom-maskformer-r18",),
    "upernet": ("custom-upernet-r18",),
}


def build(preset, *settings):
    config = presets.load(preset, ["backbone.pretrained=false", *settings])
    return as_trained(build_model(config, SCENE_CATEGORIES))


def as_trained(model):
    """Gives norms the statistics of training, which are not 0 and 1."""
    for module in norms(model):
        nn.init.normal_(module.running_mean, std=0.2)
        nn.init.uniform_(module.running_var, 0.5, 2)
        nn.init.uniform_(module.weight, 0.5, 1.5)
        nn.init.normal_(module.bias, std=0.2)
    return model.eval()


def norms(model):
    return [module for module in model.modules() if hasattr(module, "running_mean")]


def maps(output):
    """The tensor of the final prediction that everything has a share in."""
    final = output.final
    return final.semantic.logits if hasattr(final, "semantic") else final.mask_logits


def forward(model, images):
    with inference(model):
        return maps(model(images))


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS.keys())
def test_predictions_are_the_same_up_to_rounding(settings):
    model = build(*settings)
    before = copy.deepcopy(model.state_dict())
    fast = FastModel(model)
    assert norms(model) and not norms(fast)
    images = torch.rand(1, 3, 64, 96) * 255
    expected = forward(model, images)
    torch.testing.assert_close(forward(fast, images) / expected.std(), expected / expected.std(), rtol=0, atol=1e-3)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "settings", [{}, {"fused": False}, {"attention": "softmax"}, {"attention": "categories"}], ids=str
)
def test_the_norm_of_f_pan_moves_into_g_q(settings):
    relation = as_trained(PISR(8, 3, PISRConfig(channels=6, top_k=4, **settings)).double())
    features = torch.randn(2, 8, 5, 7).double()
    semantic = SemanticPrediction.from_logits(torch.randn(2, 3, 5, 7).double())
    instances = torch.rand(2, 4, 5, 7).double()
    expected = relation(features, semantic, instances)
    assert not norms(fold_batch_norms(relation))
    torch.testing.assert_close(relation(features, semantic, instances), expected)
    assert not torch.allclose(expected, features)


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm2d, FrozenBatchNormAct2d])
def test_folding_is_exact_in_double_precision(norm):
    block = as_trained(Conv2dNormActivation(4, 6, 3, norm_layer=norm).double())
    images = torch.randn(2, 4, 9, 9, dtype=torch.double)
    expected = block(images)
    assert not norms(fold_batch_norms(block))
    torch.testing.assert_close(block(images), expected)


def test_norms_that_follow_no_convolution_stay():
    block = as_trained(nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)))
    images = torch.randn(2, 4, 5, 5)
    expected = block(images)
    assert len(norms(fold_batch_norms(block))) == 2
    torch.testing.assert_close(block(images), expected)


@pytest.mark.parametrize("settings", MODELS.values(), ids=MODELS.keys())
def test_low_precision_is_near_and_not_equal(settings):
    # Without instances: of random centres rounding may choose others, which changes everything.
    model, images = build(*settings, "relation.top_k=0"), torch.rand(1, 3, 64, 64) * 255
    expected, low = forward(model, images), forward(FastModel(model, "bf16"), images).float()
    assert 1e-4 < (low - expected).std() / expected.std() < 0.05


def test_the_cpu_records_no_graphs():
    assert not isinstance(FastModel(build("scenes-pdl-r18"))._run, GraphedForward)


def test_precisions_are_checked():
    with pytest.raises(ConfigError, match="choose one of no, fp16, bf16"):
        FastModel(build("scenes-pdl-r18"), "int8")


COMPILE = """
import sys
import torch
from pisr_core import presets
from pisr_core.backbones import build_backbone
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.inference.mode import inference
from pisr_core.inference.fast_model import FastModel
from pisr_core.models import build_model
from pisr_core.relations import PISR
from pisr_core.structures import SemanticPrediction

graphs = []
def backend(graph, inputs):
    graphs.append(len(graph.graph.nodes))
    return graph.forward

compile_module = torch.nn.Module.compile
torch.nn.Module.compile = lambda self, **options: compile_module(self, backend=backend, dynamic=False)
for preset in sys.argv[1:]:
    model = build_model(presets.load(preset, ["backbone.pretrained=false"]), SCENE_CATEGORIES).eval()
    images = torch.rand(1, 3, 64, 64) * 255
    with inference(model):
        expected, ours = FastModel(model)(images).final, FastModel(model, compiled=True)(images).final
    maps = "semantic" if hasattr(ours, "semantic") else "mask_logits"
    ours, expected = (getattr(x, maps) if maps == "mask_logits" else x.semantic.logits for x in (ours, expected))
    torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)
    print(preset, len(graphs), max(graphs))
    graphs.clear()
"""


def test_every_architecture_compiles():
    """In a process of its own: types that are checked at run time, as in tests, break the graphs.

    Older compilers, as of torch 2.8, break some of them once.
    """
    names = ["scenes-pdl-r18", "custom-maskformer-r18", "custom-upernet-r18", "custom-pfpn-r18"]
    done = subprocess.run([sys.executable, "-c", COMPILE, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    graphs = {name: (int(count), int(nodes)) for name, count, nodes in map(str.split, done.stdout.splitlines())}
    assert list(graphs) == names
    most = 1 if torch.__version__ >= (2, 9) else 2
    for name, (count, nodes) in graphs.items():
        assert nodes > 60 and count <= (4 if "pfpn" in name else most), graphs


def compile_with(monkeypatch, backend):
    """Makes `nn.Module.compile` use a backend of a test."""
    compile_module = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: compile_module(self, backend=backend, dynamic=False))
    torch.compiler.reset()


def test_a_compiler_that_fails_is_done_without(monkeypatch, caplog):
    def backend(graph, inputs):
        raise OSError("no compiler here")

    compile_with(monkeypatch, backend)
    model, images = build("scenes-pdl-r18"), torch.rand(1, 3, 64, 64) * 255
    fast = FastModel(model, compiled=True)
    with caplog.at_level(logging.WARNING, "pisr_core"):
        ours = forward(fast, images)
        forward(fast, images)
    assert torch.equal(ours, forward(FastModel(model), images))
    (record,) = [record for record in caplog.records if record.name.startswith("pisr_core")]
    assert "torch.compile does not work here" in record.message and "no compiler here" in record.message


def test_a_norm_of_a_sum_is_not_folded_into_the_convolution_registered_before_it():
    """RepViT's blocks normalise two convolutions and their input together."""
    torch.manual_seed(0)
    config = BackboneConfig("repvit_m0_9", pretrained=False, output_stride=32, multi_grid=())
    backbone, images = as_trained(build_backbone(config)), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected, folded = backbone(images), fold_batch_norms(copy.deepcopy(backbone))(images)
    assert len(norms(fold_batch_norms(copy.deepcopy(backbone)))) < len(norms(backbone)) / 2
    for name, features in expected.items():
        torch.testing.assert_close(folded[name], features, rtol=1e-3, atol=1e-3 * float(features.abs().max()))
