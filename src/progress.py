"""Training seen from outside: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

from src.training import Progress


class TrainingProgress:
    """Shows loss, accuracy and time left on standard error; give its methods to `src.training.train`."""

    def __init__(self, epochs: int, steps_per_epoch: int) -> None:
        self.epochs = epochs
        self.interactive = sys.stderr.isatty()
        self.started = time.monotonic()
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
        """Show an epoch's losses and accuracies; close the bar after the last one."""
        row = progress.history[-1]
        facts = (
            f"train loss {row.train_loss:.4f}, validation loss {row.val_loss:.4f}, "
            f"validation accuracy {row.val_accuracy:.2%}"
        )
        self.bar.set_description_str(f"epoch {row.epoch}/{self.epochs}")
        self.bar.set_postfix_str(facts)
        if not self.interactive:
            print(
                f"epoch {row.epoch}/{self.epochs}: {facts}{self._left(row.epoch)}",
                file=sys.stderr,
                flush=True,
            )
        if row.epoch == self.epochs:
            self.bar.close()

    def _left(self, epoch: int) -> str:
        if not 0 < epoch < self.epochs:
            return ""
        seconds = (time.monotonic() - self.started) / epoch * (self.epochs - epoch)
        return f", {tqdm.format_interval(seconds)} left"
