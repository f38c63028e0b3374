"""What a run is: identity, facts of its data, folders, checkpoints, errors. Knows no task and no datamodule."""
