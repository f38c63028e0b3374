"""What a run is: identity, specification of its data, folders, checkpoints, errors. Knows no task and no datamodule."""
