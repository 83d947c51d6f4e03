"""How a run trains: PRETRAIN and FINETUNE are two values of one frozen class (ViPTT-Net §2.3, §3.2)."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from trainer.errors import TrainerError

CHOICES = {
    "stage": ("pretrain", "finetune"),
    "backbone": ("vgg16", "small"),
    "input_map": ("imagenet", "glorot"),
    "rnn": ("lstm", "gru"),
    "optimizer": ("sgd", "adam"),
    "precision": ("float32", "mixed_bfloat16"),
}
AUGMENTATIONS = ("rotation", "shift", "blur")
KIND_OF = {"pretrain": "video", "finetune": "ct"}  # the kind of volumes a stage trains on


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run computes, given its cache and split.

    `weights` is where the backbone's come from: "imagenet", "none" or a file. `frame_block` slices of a volume go
    through the backbone at a time (0: as many as have the pixels of five at 224×224). `augmentation` names what is
    drawn anew for each sample in each epoch. Learning rate × `plateau_factor` after `plateau_patience` epochs without
    a lower validation loss, end after `stop_patience`. With `cached_features` what is before the RNN was computed
    beforehand and is not trained, the map to its input included.
    """

    stage: str
    freeze_backbone: bool
    backbone: str = "vgg16"
    weights: str = "imagenet"
    input_map: str = "imagenet"
    rnn: str = "lstm"
    optimizer: str = "sgd"
    learning_rate: float = 0.001
    batch_size: int = 2
    epochs: int = 100
    plateau_factor: float = 0.1
    plateau_patience: int = 5
    stop_patience: int = 8
    validation_fraction: float = 0.2
    class_weights: bool = False
    augmentation: tuple[str, ...] = ()
    seed: int = 0
    frame_block: int = 0
    precision: str = "float32"
    jit_compile: bool = False
    cached_features: bool = False

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise TrainerError(f"{name} {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name in ("batch_size", "epochs", "plateau_patience", "stop_patience"):
            self._whole(name, 1)
        for name in ("seed", "frame_block"):
            self._whole(name, 0)
        if not 0 < self.learning_rate <= sys.float_info.max:
            raise TrainerError(f"learning_rate {self.learning_rate}; expected a number above 0")
        for name in ("plateau_factor", "validation_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise TrainerError(f"{name} {getattr(self, name)}; expected a number between 0 and 1")
        self._check_augmentation()

    def _whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if type(value) is not int or not least <= value < 2**31:
            raise TrainerError(f"{name} {value!r}; expected a whole number, at least {least}")

    def _check_augmentation(self) -> None:
        if self.augmentation and self.stage == "pretrain":
            raise TrainerError("augmentation of clips; expected it in fine-tuning only (ViPTT-Net §2.4)")
        unknown = set(self.augmentation) - set(AUGMENTATIONS)
        if unknown:
            raise TrainerError(f"augmentation {sorted(unknown)[0]!r}; expected some of {', '.join(AUGMENTATIONS)}")

    @property
    def kind(self) -> str:
        """The kind of volumes this stage trains on: "video" or "ct"."""
        return KIND_OF[self.stage]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"augmentation": list(self.augmentation)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Config":
        """Raises TrainerError for anything that `to_json` would not give."""
        names = [field.name for field in fields(cls)]
        for name in data:
            if name not in names:
                near = get_close_matches(name, names, 1)
                raise TrainerError(f"unknown key {name!r:.200}" + (f"; {near[0]!r} is meant, perhaps" if near else ""))
        for field in fields(cls):
            if field.name not in data:
                raise TrainerError(f"no key {field.name!r}")
            given, expected = data[field.name], TYPES[field.type]
            if type(given) not in expected:
                raise TrainerError(f"{field.name} {given!r:.200} where {expected[0].__name__} was expected")
        return cls(**{**data, "augmentation": tuple(map(str, data["augmentation"]))})


TYPES: dict[Any, tuple[type, ...]] = {  # of a field → of its value in JSON
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (float, int),
    tuple[str, ...]: (list, tuple),
}

PRETRAIN = Config("pretrain", freeze_backbone=True)
FINETUNE = Config("finetune", freeze_backbone=False)
