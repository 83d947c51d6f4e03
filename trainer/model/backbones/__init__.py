"""One file per backbone; each defines `BACKBONE` (see `trainer.model.backbone`)."""
