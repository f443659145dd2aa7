"""The pipeline: where a model is cut into stages, and in which order its micro-batches run through them."""
