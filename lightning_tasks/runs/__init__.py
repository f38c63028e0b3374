"""What a run is: identity, data_spec of its data, folders, checkpoints, errors. Knows no task and no datamodule."""
