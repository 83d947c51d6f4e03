"""One module per backend of Keras, all with the same functions; `trainer.backend` chooses by `KERAS_BACKEND`."""
