"""Pictures and annotations in, batches out."""
