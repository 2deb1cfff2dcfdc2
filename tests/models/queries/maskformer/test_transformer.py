import math

import torch
from torch import nn

from pisr_core.models.queries.maskformer.transformer import DecoderLayer, EncoderLayer, sine_positions


def test_positions_by_hand():
    positions = sine_positions((2, 3), 8, torch.device("cpu"))
    # Cell (1, 0): y is 2/2 of a period, x 1/3; wavelengths are 1 and 100 periods.
    expected = []
    for phase in (2 * math.pi, 2 * math.pi / 3):
        expected += [math.sin(phase), math.cos(phase), math.sin(phase / 100), math.cos(phase / 100)]
    torch.testing.assert_close(positions[3], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    assert positions.shape == (6, 8)
    assert len(positions.unique(dim=0)) == 6


def test_encoder_layer_without_positions_is_torchs():
    layer = EncoderLayer(8, 2, 16, dropout=0.0)
    theirs = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    theirs.load_state_dict(layer.state_dict())
    tokens = torch.randn(2, 5, 8)
    torch.testing.assert_close(layer(tokens, torch.zeros(5, 8)), theirs(tokens))


def test_decoder_layer_without_positions_is_torchs():
    layer = DecoderLayer(8, 2, 16, dropout=0.0)
    theirs = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    theirs.load_state_dict(layer.state_dict())
    queries, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    ours = layer(queries, torch.zeros(3, 8), memory, torch.zeros(5, 8))
    torch.testing.assert_close(ours, theirs(queries, memory))


def test_positions_steer_the_attention_and_are_no_values():
    layer = EncoderLayer(8, 2, 16, dropout=0.0)
    tokens = torch.randn(1, 5, 8)
    assert not torch.allclose(layer(tokens, torch.randn(5, 8)), layer(tokens, torch.zeros(5, 8)))
    # Equal positions shift all scores alike for equal tokens, so they change nothing there.
    same = tokens[:, :1].expand(-1, 5, -1)
    torch.testing.assert_close(layer(same, torch.randn(5, 8)), layer(same, torch.zeros(5, 8)))
