"""How a run trains: PRETRAIN and FINETUNE are two values of one frozen class (ViPTT-Net §2.3, §3.2).

Each field is declared once: its type, bounds and description are also those of the command line's option.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from msgspec import Meta

from cache.documents import Document, InvalidDocument, annotations, checked, from_json
from trainer.errors import TrainerError

KIND_OF = {"pretrain": "video", "finetune": "ct"}  # the kind of volumes that a stage trains on
MAX = 2**31
OLD_KEYS = {"input_map": "input_conv", "frame_block": "slices_per_step"}  # in config.json: old → new
OLD_INPUT_CONV = {"glorot": "random"}

Count = Annotated[int, Meta(ge=1, lt=MAX)]
Fraction = Annotated[float, Meta(gt=0, lt=1)]
Augmentation = Literal["rotation", "shift", "blur"]


class Config(Document, frozen=True):
    """Everything that determines the result of a run but its cache and split. Raises TrainerError for wrong values.

    After `plateau_patience` epochs without a lower validation loss the learning rate is multiplied by `plateau_factor`;
    after `stop_patience` training ends. With `cached_features` the layers before the RNN are not trained: their
    features were computed beforehand. With `precise_batch_norm` the running statistics of a trained backbone are
    recomputed after each epoch, as earlier versions did not.
    """

    stage: Literal["pretrain", "finetune"]
    freeze_backbone: Annotated[
        bool,
        Meta(
            description="Freeze the backbone or train it; default: frozen in pretraining, if it has ImageNet weights.",
            extra={"option": "--freeze-backbone/--train-backbone"},
        ),
    ]
    backbone: Annotated[
        str,
        Meta(description="Network that turns each slice into features.", extra={"registry": "trainer.model.backbones"}),
    ] = "vgg16"
    weights: Annotated[str, Meta(description="Backbone weights: imagenet, none, or a Keras weights file.")] = "imagenet"
    input_conv: Annotated[
        Literal["imagenet", "random"],
        Meta(
            description="Initial weights of the 1×1 convolution before the backbone: ImageNet scaling or random.",
            extra={"old_options": ["--input-map"], "old_values": {"glorot": "random"}},
        ),
    ] = "imagenet"
    rnn: Annotated[Literal["lstm", "gru"], Meta(description="Recurrent layer over the slices.")] = "lstm"
    optimizer: Annotated[Literal["sgd", "adam"], Meta(description="Optimizer; default for small: adam.")] = "sgd"
    learning_rate: Annotated[float, Meta(gt=0, description="Initial learning rate.")] = 0.001
    batch_size: Annotated[Count, Meta(description="Samples in a training step.")] = 2
    epochs: Annotated[
        Count, Meta(description="Maximum number of epochs; training stops earlier when it no longer improves.")
    ] = 100
    plateau_factor: Fraction = 0.1
    plateau_patience: Count = 5
    stop_patience: Count = 8
    validation_fraction: Fraction = 0.2
    class_weights: Annotated[bool, Meta(description="Weight classes by how rare they are.")] = False
    augmentation: tuple[Augmentation, ...] = ()
    seed: Annotated[
        int, Meta(ge=0, lt=MAX, description="Seed of the split, initial weights, sample order and augmentation.")
    ] = 0
    slices_per_step: Annotated[
        int,
        Meta(
            ge=0,
            lt=MAX,
            description="Slices per backbone pass, to limit memory; 0: five of 224×224, more of smaller ones.",
            extra={"old_options": ["--frame-block"]},
        ),
    ] = 0
    precision: Annotated[
        Literal["float32", "mixed_bfloat16"],
        Meta(description="Number format of the computation; mixed_bfloat16 is faster on recent GPUs."),
    ] = "float32"
    jit_compile: Annotated[bool, Meta(description="Compile with XLA.")] = False
    cached_features: bool = False
    precise_batch_norm: bool = False

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except InvalidDocument as error:
            raise TrainerError(str(error)) from error
        if self.augmentation and self.stage == "pretrain":
            raise TrainerError("augmentation is for fine-tuning only (ViPTT-Net §2.4); leave it out in pretraining")

    @property
    def kind(self) -> str:
        """The kind of volumes that this stage trains on: "video" or "ct"."""
        return KIND_OF[self.stage]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Config":
        """The configuration in config.json, also from an earlier version. Raises TrainerError."""
        try:
            return from_json(cls, {"precise_batch_norm": False} | with_current_names(data), complete=True)
        except InvalidDocument as error:
            raise TrainerError(str(error)) from error


def with_current_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of Config in JSON, with the names and values of earlier versions replaced by the current ones."""
    renamed = {OLD_KEYS.get(name, name): value for name, value in data.items()}
    if isinstance(value := renamed.get("input_conv"), str):
        renamed["input_conv"] = OLD_INPUT_CONV.get(value, value)
    return renamed


def checked_settings(data: Mapping[str, Any]) -> dict[str, Any]:
    """Some fields of Config in JSON, each checked separately. Raises InvalidDocument."""
    fields = annotations(Config)
    settings = with_current_names(data)
    for name in settings:
        if name not in fields:
            raise InvalidDocument(f"unknown key {name!r:.200}")
    return {name: checked(name, value, fields[name]) for name, value in settings.items()}


AUGMENTATIONS = get_args(Augmentation)
PRETRAIN = Config("pretrain", freeze_backbone=True)
FINETUNE = Config("finetune", freeze_backbone=False)
