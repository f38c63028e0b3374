"""A run that takes as long as it is told."""

from types import SimpleNamespace

from lightning_tasks.callbacks import clock as clocks


class Host:
    """The time of a host that stands still, until it is told to go on."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(clocks, "time", SimpleNamespace(perf_counter=lambda: self.now))


def pretend(clock, host, seconds, warm_up=0, batches=10, **options):
    """Let a clock see epochs of the given seconds."""
    callbacks = options.pop("callbacks", [])
    trainer = SimpleNamespace(
        current_epoch=0, max_epochs=20, max_steps=-1, global_step=0, num_training_batches=batches, should_stop=False,
        is_global_zero=True, fast_dev_run=False, check_val_every_n_epoch=1, callbacks=callbacks, **options,
    )  # fmt: skip
    task = SimpleNamespace(pretrains_generator=warm_up > 0)
    clock.on_train_start(trainer, task)
    for length in seconds:
        task.pretrains_generator = trainer.current_epoch < warm_up
        clock.on_train_epoch_start(trainer, task)
        for index in range(batches):
            clock.on_train_batch_start(trainer, task, None, index)
            host.now += length / batches
        clock.on_train_epoch_end(trainer, task)
        trainer.current_epoch += 1
    return trainer
