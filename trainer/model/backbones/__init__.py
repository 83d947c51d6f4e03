"""One file a backbone; each defines `BACKBONE` (see `trainer.model.backbone`)."""
