"""Parameters that a training does not read: with another value of them, it is the same training."""

from __future__ import annotations

from src.networks.build import network_class
from src.params import BUILT_IN, CrossvalParams, NetworkParams, RunParams


def unread_keys(params: RunParams) -> dict[str, str]:
    """The keys of `params.yaml` that this training does not read, each with the reason.

    Only what the other values rule out is named: `warmup_epochs: 0` is a value that is read.
    """
    network = network_class(params.model)
    unread = dict.fromkeys(CrossvalParams.model_fields, "only the cross-validation study reads it")
    if params.dataset in BUILT_IN:
        unread["test_fraction"] = f"{params.dataset} comes with a test split"
    for key in NetworkParams.model_fields:
        if key not in ("model", "input", *network.accepts):
            unread[key] = f"{params.model} does not read it"
    if network.input_size is None:
        unread["input"] = f"{params.model} is fed the images in their own size"
    if params.optimizer in ("Adam", "AdamW"):
        unread["momentum"] = f"{params.optimizer} does not read it"
    return unread
