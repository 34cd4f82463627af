"""Normalisations and losses."""

from __future__ import annotations

import numpy as np

from tests.autodiff.against_torch.row import functional, row, values

CHANNELS = [values(3, low=0.5), values(3), values(3), values(3, low=0.5)]
NORMALIZATION = [
    row("BatchNormalization", [values(4, 3, 5), *CHANNELS],
        lambda x, scale, bias, mean, var: functional.batch_norm(x, mean, var, scale, bias, eps=1e-3),
        epsilon=1e-3, fixed=[3, 4], note="frozen"),
    row("BatchNormalization", [values(4, 3, 5), *CHANNELS],
        lambda x, scale, bias, mean, var: functional.batch_norm(x, None, None, scale, bias, True, eps=1e-3),
        epsilon=1e-3, training_mode=1, outputs=3, fixed=[3, 4], note="training"),
    row("LayerNormalization", [values(4, 3, 5), values(3, 5), values(3, 5)],
        lambda x, scale, bias: functional.layer_norm(x, (3, 5), scale, bias), axis=1),
    row("InstanceNormalization", [values(4, 3, 5), values(3), values(3)],
        lambda x, scale, bias: functional.instance_norm(x, weight=scale, bias=bias)),
    row("GroupNormalization", [values(4, 6, 5), values(6), values(6)],
        lambda x, scale, bias: functional.group_norm(x, 2, scale, bias), num_groups=2),
    row("RMSNormalization", [values(4, 3, 5), values(5)],
        lambda x, scale: functional.rms_norm(x, (5,), scale, 1e-5)),
    row("MeanVarianceNormalization", [values(4, 3, 5, 2)],
        lambda x: functional.batch_norm(x, None, None, training=True, eps=1e-18), tolerance=1e-8),
    row("Dropout", [values(4, 3), 0.4, False], lambda x, ratio, is_live: functional.dropout(x, 0.4, False), fixed=[1]),
    row("LRN", [values(2, 6, 3, 3)], lambda x: functional.local_response_norm(x, 3, 0.2, 0.6, 1.5),
        size=3, alpha=0.2, beta=0.6, bias=1.5),
    row("LpNormalization", [values(3, 4)], lambda x: functional.normalize(x, 2, 1), axis=1),
]  # fmt: skip
LABELS, WEIGHT = np.array([[0, 3], [2, 1], [1, 1]]), values(4, low=0.5)
LOSSES = [
    row("SoftmaxCrossEntropyLoss", [values(3, 4, 2), LABELS, WEIGHT],
        lambda x, labels, weight: functional.cross_entropy(x, labels, weight, ignore_index=1), ignore_index=1,
        fixed=[2], note="weighted mean"),
    row("SoftmaxCrossEntropyLoss", [values(3, 4, 2), LABELS],
        lambda x, labels: functional.cross_entropy(x, labels, reduction="none"), reduction="none", note="each"),
    row("NegativeLogLikelihoodLoss", [values(3, 4, 2), LABELS, WEIGHT],
        lambda x, labels, weight: functional.nll_loss(x, labels, weight, reduction="sum"), reduction="sum", fixed=[2]),
]  # fmt: skip
