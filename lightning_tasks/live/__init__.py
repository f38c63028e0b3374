"""A page on which a sketch network draws while one watches: `python cli.py live --ckpt CHECKPOINT`."""
