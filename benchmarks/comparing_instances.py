"""Whether PISR's attention can compare instances, once their encodings tell what is to be compared.

python benchmarks/comparing_instances.py

As in the `relative` scenes a picture has look-alikes in fours, two of one colour and two of others, and a thing's class
is whether another of its shape and colour is there. Here no network has to see them: the encodings are the true colours
and shapes, times a fixed random matrix, and so is F at the one cell that each instance has. What is learned is the
relation and the final head alone, from pictures that are never the same. A row for each relation, a column for the
number of pictures seen; the share of 2,000 pictures' deciding things whose class is right. By chance it is one half.
The README's preset sees 7,200 pictures.

alone        the head alone, which sees one instance
mean         the head sees the mean of its shape's instances beside it
pisr         the paper's attention, F + norm(F_pan)
softmax      `relation.attention = "softmax"`
categories   `relation.attention = "categories"`
transformer  a layer of torch's encoder in place of the relation
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.data.scenes.things import CLEAR_COLORS
from pisr_core.relations.attention import PanopticRelationalAttention
from pisr_core.relations.category_attention import CategoryAttention

CHANNELS = 128
SHAPES, OTHERS = 3, 3
INSTANCES = 8 + OTHERS
BATCH = 32
COLUMNS = (225, 450, 900, 1800, 3600)
"""Steps after which the share is taken."""


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, default=0.05, help="standard deviation on the colours, within 0 to 1")
    parser.add_argument("--steps", type=int, default=COLUMNS[-1])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--relations", nargs="+", choices=RELATIONS, default=list(RELATIONS))
    arguments = parser.parse_args()
    columns = [steps for steps in COLUMNS if steps <= arguments.steps]
    print(f"{'pictures seen':14}", *(f"{BATCH * steps:>14}" for steps in columns))
    for name in arguments.relations:
        shares = torch.tensor([learned(name, seed, arguments.noise, columns) for seed in range(arguments.seeds)])
        spread = shares.std(dim=0) if arguments.seeds > 1 else torch.zeros(len(columns))
        print(f"{name:14}", *(f"{m:8.3f} ± {s:.3f}" for m, s in zip(shares.mean(0), spread, strict=True)), flush=True)


def learned(name: str, seed: int, noise: float, columns: list[int]) -> list[float]:
    """The share of right answers after so many steps each."""
    torch.manual_seed(seed)
    pictures, network = Pictures(noise), RELATIONS[name]()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    held_out, shares = pictures.draw(2000), []
    for step in range(1, columns[-1] + 1):
        encodings, shapes, answers = pictures.draw(BATCH)
        deciding = shapes < SHAPES
        loss = F.binary_cross_entropy_with_logits(network(encodings, shapes)[deciding], answers[deciding])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in columns:
            shares.append(share(network, *held_out))
    return shares


@torch.no_grad()
def share(network: nn.Module, encodings: Tensor, shapes: Tensor, answers: Tensor) -> float:
    """Of the deciding things whose class is right."""
    network.eval()
    right = (network(encodings, shapes) > 0) == (answers > 0)
    network.train()
    return right[shapes < SHAPES].float().mean().item()


class Pictures:
    """Drawn anew each time.

    Args:
        noise: on the colours.
    """

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.colors = torch.tensor(CLEAR_COLORS) / 255
        self.projection = torch.randn(3 + SHAPES + 2, CHANNELS) / 2

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Encodings (count, m, c), shapes, `SHAPES` being one whose look-alikes decide nothing, and who has a twin."""
        shapes = torch.rand(count, SHAPES).argsort(dim=1)[:, :2].repeat_interleave(4, dim=1)
        three = torch.rand(count, 2, len(self.colors)).argsort(dim=2)[..., :3]
        colors = three[..., [0, 0, 1, 2]].flatten(1)
        shapes = F.pad(shapes, (0, OTHERS), value=SHAPES)
        colors = torch.cat((colors, torch.randint(len(self.colors), (count, OTHERS))), dim=1)
        seen = self.colors[colors] + self.noise * torch.randn(count, INSTANCES, 3)
        known = torch.cat((seen, F.one_hot(shapes, SHAPES + 1), torch.ones(count, INSTANCES, 1)), dim=2)
        answers = F.pad(torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(2), (0, OTHERS)).expand(count, -1)
        order = torch.rand(count, INSTANCES).argsort(dim=1)
        encodings = known.gather(1, order[..., None].expand_as(known)) @ self.projection
        return encodings, shapes.gather(1, order), answers.gather(1, order)


class Related(nn.Module):
    """Logits of instances, after F + norm(F_pan) if there is an attention."""

    def __init__(self, attention: PanopticRelationalAttention | CategoryAttention | None) -> None:
        super().__init__()
        self.attention = attention
        self.norm = nn.BatchNorm2d(CHANNELS)
        first = [nn.Conv2d(CHANNELS, CHANNELS, 1, bias=False), nn.BatchNorm2d(CHANNELS), nn.ReLU()]
        self.head = nn.Sequential(*first, nn.Conv2d(CHANNELS, 1, 1))

    def forward(self, encodings: Tensor, shapes: Tensor) -> Tensor:
        """(b, m) from (b, m, c): each instance is a cell of F."""
        features = encodings.transpose(1, 2)[..., None]
        if self.attention is not None:
            own = torch.eye(INSTANCES).expand(len(encodings), -1, -1)[..., None]
            asking = own if isinstance(self.attention, CategoryAttention) else features
            features = features + self.norm(self.attention(encodings, asking))
        return self.head(features)[:, 0, :, 0]


class Encoder(nn.Module):
    """A layer of a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(CHANNELS, 4, 2 * CHANNELS, dropout=0.0, batch_first=True)
        self.head = nn.Linear(CHANNELS, 1)

    def forward(self, encodings: Tensor, shapes: Tensor) -> Tensor:
        """(b, m) from (b, m, c)."""
        return self.head(self.layer(encodings))[..., 0]


class ClassMean(nn.Module):
    """Compares each instance with the mean of its shape, itself among them."""

    def __init__(self) -> None:
        super().__init__()
        hidden = [nn.Linear(2 * CHANNELS, CHANNELS), nn.ReLU(), nn.Linear(CHANNELS, CHANNELS), nn.ReLU()]
        self.head = nn.Sequential(*hidden, nn.Linear(CHANNELS, 1))

    def forward(self, encodings: Tensor, shapes: Tensor) -> Tensor:
        """(b, m) from (b, m, c)."""
        same = (shapes[:, :, None] == shapes[:, None]).float()
        means = same @ encodings / same.sum(dim=2, keepdim=True)
        return self.head(torch.cat((encodings, means), dim=2))[..., 0]


def attention(softmax: bool) -> Related:
    """PISR's, over as many categories as there are instances."""
    return Related(PanopticRelationalAttention(CHANNELS, INSTANCES, CHANNELS, kernel=1, softmax=softmax))


RELATIONS = {
    "alone": lambda: Related(None),
    "mean": ClassMean,
    "pisr": lambda: attention(softmax=False),
    "softmax": lambda: attention(softmax=True),
    "categories": lambda: Related(CategoryAttention(CHANNELS, CHANNELS)),
    "transformer": Encoder,
}


if __name__ == "__main__":
    main()
