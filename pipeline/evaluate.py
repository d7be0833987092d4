"""Predictions of a PyTorch network over rows of the prepared data."""

import numpy as np
import torch
from torch import nn

from pipeline import scale
from pipeline.data.batches import evaluation_batches
from pipeline.networks import device_of
from pipeline.progress import Meter
from pipeline.results import PreparedData
from pipeline.settings.data import Augmentation
from pipeline.training.collectives import gathered_rows


def predict(
    network: nn.Module,
    data: PreparedData,
    rows: np.ndarray,
    batch_size: int = 256,
    meter: Meter | None = None,
    augmentation: Augmentation | None = None,
    view: int = 0,
    seed: int = 0,
) -> np.ndarray:
    """float32 logits [len(rows), classes] in the order of `rows`, in evaluation mode, where the network
    is. With `augmentation`, of the images' view `view` as training with `seed` sees it.

    Processes that work together ask it of a part of the rows each, and all get the whole."""
    count, rows = len(rows), rows[scale.part(len(rows))]
    scores = np.empty((len(rows), len(data.labels)), dtype=np.float32)
    device = device_of(network)
    training = network.training
    network.eval()
    with torch.inference_mode():
        for batch in evaluation_batches(data, rows, batch_size, seed, augmentation, view):
            logits = network(*(tensor.to(device) for tensor in batch.inputs))
            scores[batch.positions] = logits.float().cpu().numpy()
            if meter is not None:
                meter.advance(len(batch.rows))
    network.train(training)
    if meter is not None:
        meter.advance(count - len(rows))
    return gathered_rows(scores, count)
