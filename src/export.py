"""A trained network for other programs: ONNX, and PyTorch's own exported program. Both take images as they are."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from src.model_file import TrainedModel

# The newest that PyTorch's exporter writes without converting, and that ONNX Runtime of 2023 reads.
OPSET = 18
