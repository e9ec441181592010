"""Training seen from outside: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from src.training.loop import Progress


class TrainingProgress:
    """Shows loss, accuracy and time left on standard error; give its methods to `src.training.loop.train`."""

    def __init__(self, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs
        self.steps_per_epoch = steps_per_epoch
        self.first: int | None = None
        self.interactive = sys.stderr.isatty()
        self.started = 0.0
        self.bar = tqdm(
            total=epochs * steps_per_epoch,
            unit="step",
            disable=not self.interactive,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {remaining} left{postfix}",
        )

    def on_step(self) -> None:
        """Advance the bar by one step."""
        self.bar.update()

    def on_epoch(self, progress: Progress) -> None:
        """Show an epoch's losses and accuracies.

        A first call with a later epoch than 0 is one from a checkpoint.
        """
        row = progress.history[-1]
        if self.first is None:
            self.first, self.started = row.epoch, time.monotonic()
            if self.first > 0:
                # Not steps of this process: the time left follows from its own.
                self.bar.initial = self.bar.n = self.bar.last_print_n = self.first * self.steps_per_epoch
                tqdm.write(f"resuming from the checkpoint of epoch {self.first}", file=sys.stderr)
        facts = (
            f"train loss {row.train_loss:.4f}, validation loss {row.val_loss:.4f}, "
            f"validation accuracy {row.val_accuracy:.2%}"
        )
        self.bar.set_description_str(f"epoch {row.epoch}/{self.epochs}")
        self.bar.set_postfix_str(facts)
        if not self.interactive:
            print(
                f"epoch {row.epoch}/{self.epochs}: {facts}{self._left(row.epoch - self.first)}",
                file=sys.stderr,
                flush=True,
            )

    def close(self) -> None:
        """Leave the bar as it is; to be called after the last epoch, whichever that was."""
        self.bar.close()

    def _left(self, done: int) -> str:
        left = self.epochs - (self.first or 0) - done
        if done == 0 or left == 0:
            return ""
        seconds = (time.monotonic() - self.started) / done * left
        return f", {tqdm.format_interval(seconds)} left"
