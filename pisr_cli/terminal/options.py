"""Options that several commands share, and groups of options that reach a command as one object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.models import ParameterInfo

from pisr_cli.terminal.checkpoints import fetched
from pisr_cli.terminal.imports import quick_imports
from pisr_core.errors import ConfigError
from pisr_core.runtime.devices.allocation import keep_network_memory
from pisr_core.runtime.obstacles import check_writable

if TYPE_CHECKING:
    import torch

    from pisr_core.models import PanopticModel

PIXELS_KEPT_FOR = 1 << 22
"""Of all images at once: above that the gaps in a network's memory would weigh more than the time that is saved."""

MODEL_NAMES = "a file, a name that `pisr weights list` shows, USER/NAME on the Hugging Face hub, or a folder"
"""What names a model, for help texts."""

Checkpoint = Annotated[
    Path | None,
    typer.Option(help=f"The model: {MODEL_NAMES}; else that of the newest run in ./runs.", metavar="MODEL"),
]
Categories = Annotated[
    Path | None,
    typer.Option(
        help="Classes of a model that does not say what is a thing: a CSV with id, name and isthing, or a COCO JSON.",
        metavar="FILE",
    ),
]
Data = Annotated[
    Path | None, typer.Option(help="Folder of the datasets; else $PISR_DATASETS, else ./datasets.", metavar="ROOT")
]
Split = Annotated[str, typer.Option(help="Part of the dataset.")]
Limit = Annotated[int, typer.Option(min=0, help="Score the first N images only; 0 for all.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images at once; changes the speed only.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps; else the fastest here.")]
Precision = Annotated[str, typer.Option(help="no (float32), fp16 (for GPUs) or bf16: faster, nearly the same results.")]
Compile = Annotated[
    bool,
    typer.Option("--compile", help="Compile the network first: worth its minutes for many images of few sizes."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a setting, such as train.lr=0.001. Repeatable.", metavar="KEY=VALUE"),
]
PredictionSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of prediction, such as merge.center_threshold=0.2. Repeatable.",
        metavar="KEY=VALUE",
    ),
]
Steps = Annotated[int | None, typer.Option(help="The same as --set train.steps=N.", metavar="N")]


def to_write(description: str, metavar: str = "DIR") -> Any:
    """An option that names the folder, or the file, for results: what is in its way is told before the work."""

    def check(path: Path | None) -> Path | None:
        if path is not None:
            check_writable(path, folder=metavar == "DIR")
        return path

    return typer.Option(help=description, metavar=metavar, callback=check)


Parallel = Annotated[
    int | None, typer.Option(min=1, help="Runs at once; else one for each GPU, or for every two cores.", metavar="N")
]
Workers = Annotated[int, typer.Option(min=0, help="Processes; 0 for one a core.", metavar="N")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


@dataclass(frozen=True)
class NetworkOptions:
    """A trained model, and how it computes."""

    checkpoint: Checkpoint = None
    categories: Categories = None
    device: Device = None
    precision: Precision = "no"
    compiled: Compile = False
    settings: PredictionSettings = None
    multi_scale: Annotated[
        str | None,
        typer.Option(
            help="Merge predictions at these shares of the evaluation size, such as 0.5,1,1.5.", metavar="SCALES"
        ),
    ] = None
    flip: Annotated[bool, typer.Option("--flip", help="Merge with predictions of the mirrored image.")] = False

    @property
    def views(self) -> tuple[tuple[float, ...], bool] | None:
        """The scales, and whether to mirror; `None` for the image itself."""
        return None if self.multi_scale is None and not self.flip else (_scales(self.multi_scale or "1"), self.flip)

    @property
    def seen_as(self) -> str:
        """How the model sees an image, in words."""
        if self.views is None:
            return "the image itself"
        scales, mirrored = self.views
        return f"scales {', '.join(map(str, scales))}{', mirrored too' if mirrored else ''}"

    def load(self) -> tuple[Path, PanopticModel, torch.device]:
        """The checkpoint's name, its model made fast, which sees the views, and the device that it is on."""
        with quick_imports():
            from pisr_core.inference.fast_model import FastModel, check_precision
            from pisr_core.inference.load import load_model
            from pisr_core.inference.multi_scale import MultiScaleModel
            from pisr_core.runtime.devices.device import choose_device

        device = choose_device(self.device)
        check_precision(self.precision)
        views = self.views  # mistakes shall show before the work
        name = fetched(self.checkpoint)
        network = load_model(name, device, self.categories, self.settings or ())
        model = FastModel(network, self.precision, self.compiled)
        if device.type == "cpu":
            model.register_forward_pre_hook(_keep_memory)
        return name, model if views is None else MultiScaleModel(model, *views), device


def _keep_memory(_: object, inputs: tuple[torch.Tensor, ...]) -> None:
    batch, _, height, width = inputs[0].shape
    keep_network_memory(batch * height * width <= PIXELS_KEPT_FOR)


def _scales(text: str) -> tuple[float, ...]:
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--multi-scale {text}: write numbers with commas, for example 0.5,1,1.5.") from None
    if not all(0.05 <= scale <= 20 for scale in scales):
        raise ConfigError(f"--multi-scale {text}: choose scales from 0.05 to 20.")
    return scales


def with_steps(settings: list[str] | None, steps: int | None) -> list[str]:
    """The settings, and `--steps` as one of them."""
    return [*(settings or []), *([] if steps is None else [f"train.steps={steps}"])]


def grouped(**panels: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Lets a command take dataclasses of options, for typer wants every option as a parameter of its own.

    Args:
        **panels: headings in the help by the parameter that holds the group.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        groups = {name: hints[name] for name in signature(command).parameters if is_dataclass(hints[name])}

        def run(**given: Any) -> None:
            objects = {
                name: kind(**{field.name: given.pop(field.name) for field in fields(kind)})
                for name, kind in groups.items()
            }
            command(**objects, **given)

        parameters: list[Parameter] = []
        for name, parameter in signature(command).parameters.items():
            if name in groups:
                parameters += _parameters(groups[name], panels.get(name))
            else:
                annotation = _with_panel(hints[name], panels.get(name))
                parameters.append(parameter.replace(annotation=annotation, kind=Parameter.KEYWORD_ONLY))
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _parameters(group: Any, panel: str | None) -> Iterator[Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = Parameter.empty if field.default is MISSING else field.default
        annotation = _with_panel(hints[field.name], panel)
        yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _with_panel(annotation: Any, panel: str | None) -> Any:
    """The annotation with its option under a heading of the help."""
    kind, option = annotation.__origin__, annotation.__metadata__[0]
    if panel is None or not isinstance(option, ParameterInfo):
        return annotation
    option = copy(option)
    option.rich_help_panel = panel
    return Annotated[kind, option]
