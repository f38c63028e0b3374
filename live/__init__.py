"""A page on which a sketch network draws while one watches: `python -m live --ckpt CHECKPOINT`."""
