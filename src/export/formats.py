"""A trained network for other programs: as ONNX, and as PyTorch's own exported program."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from src.networks.model_file import TrainedModel
from src.runtime.errors import UserError

# The highest that PyTorch's exporter writes without a conversion afterwards.
OPSET = 20

# Of logits, by the sums of float32 in another order; an error in the graph is orders of magnitude larger.
TOLERANCE = 1e-3


class Deployed(nn.Module):
    """A trained network with everything that feeds it: padding or resizing, and normalisation."""

    def __init__(self, trained: TrainedModel) -> None:
        super().__init__()
        self.trained = trained
        self.network = trained.build()

    def forward(self, images: Tensor) -> Tensor:
        """Logits, float32 [N, C], of images, uint8 [N, *format.shape]."""
        return self.network(self.trained.prepare_input(images))


def export_program(trained: TrainedModel) -> ExportedProgram:
    """The network as a graph of PyTorch's operators, for `torch.export.load`: images as in `Deployed`."""
    # Two images: one alone would be taken for a size that is always 1.
    example = (torch.zeros(2, *trained.format.shape, dtype=torch.uint8),)
    program = torch.export.export(
        Deployed(trained).eval(), example, dynamic_shapes=({0: Dim("batch", min=1)},), strict=False
    )
    # Where in which file each operator was called: of no use elsewhere, and other bytes in every folder.
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
            node.meta.pop(key, None)
    return program


def program_bytes(program: ExportedProgram) -> bytes:
    """A file's content for `torch.export.load`."""
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def onnx_bytes(program: ExportedProgram, trained: TrainedModel, digests: Mapping[str, str]) -> bytes:
    """The same graph as ONNX: `images`, uint8 [batch, *format.shape], in, `logits`, float32 [batch, C], out.

    Args:
        program: see `export_program`.
        trained: what it was made of; its dataset, class names and network go into the metadata.
        digests: of the file of that model, in hexadecimal, by their names in the metadata.
    """
    import onnx_ir

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports each of its steps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exported = torch.onnx.export(
            program, input_names=["images"], output_names=["logits"], opset_version=OPSET, verbose=False
        )
    assert exported is not None
    model = exported.model
    for value in (model.graph.inputs[0], model.graph.outputs[0]):
        assert value.shape is not None
        value.shape = onnx_ir.Shape(["batch", *list(value.shape)[1:]])
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        for value in node.outputs:
            value.metadata_props.clear()
    model.metadata_props.clear()
    model.metadata_props.update(
        {
            "dataset": trained.dataset,
            "class_names": json.dumps(trained.class_names, ensure_ascii=False),
            "format": trained.format.json(),
            "network": json.dumps(trained.network, sort_keys=True),
            **digests,
        }
    )
    return onnx_ir.to_proto(model).SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Agreement:
    """How close two networks' answers are.

    Attributes:
        largest_difference: of two logits.
        same_class: the fraction of images of which both choose the same class; or the one a class that the
            other holds for as likely, within `TOLERANCE`.
    """

    largest_difference: float
    same_class: float


def agreement(logits: np.ndarray, others: np.ndarray) -> Agreement:
    """Compare logits, float [N, C], of the same images."""
    of_choice = np.take_along_axis(logits, others.argmax(axis=1, keepdims=True), axis=1)[:, 0]
    return Agreement(
        largest_difference=float(np.abs(logits - others).max()),
        same_class=float((logits.max(axis=1) - of_choice <= TOLERANCE).mean()),
    )


def checked(name: str, found: Agreement) -> Agreement:
    """The same agreement, where it is good enough.

    Raises:
        UserError: a logit differs by more than `TOLERANCE`, or a class does.
    """
    if not (found.largest_difference <= TOLERANCE and found.same_class == 1):  # NaN is not close, either
        raise UserError(
            f"{name} does not answer as the model it was made of: logits differ by up to "
            f"{found.largest_difference:.2g}, {found.same_class:.2%} of the classes are the same"
        )
    return found
