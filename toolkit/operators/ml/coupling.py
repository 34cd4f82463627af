"""Class probabilities from the probabilities of every pair of classes (Wu, Lin and Weng, 2004, second approach).

They minimise the sum over pairs of (r_ji p_i - r_ij p_j)^2 by the fixed-point iteration of that paper, which ends when
the optimality condition is met to 0.005 / classes, or after a hundred rounds: the results depend on where it ends.
"""

from __future__ import annotations

import numpy as np

ROUNDS = 100
ACCURACY = 0.005
SMALLEST = 1e-7  # pairwise probabilities keep this distance from 0 and 1


def coupled(pairwise: np.ndarray) -> np.ndarray:
    """Probabilities (rows, classes) from ``pairwise`` (rows, classes, classes): of i against j, diagonal ignored."""
    rows, classes, _ = pairwise.shape
    r = np.clip(pairwise, SMALLEST, 1 - SMALLEST)
    r[:, range(classes), range(classes)] = 0
    against = r.transpose(0, 2, 1)
    q = -against * r
    q[:, range(classes), range(classes)] = np.square(against).sum(axis=2)
    p = np.full((rows, classes), 1 / classes)
    active = np.arange(rows)
    for _ in range(ROUNDS):
        qp = np.einsum("nij,nj->ni", q[active], p[active])
        pqp = (p[active] * qp).sum(axis=1)
        going = np.abs(qp - pqp[:, None]).max(axis=1, initial=0) >= ACCURACY / classes
        active = active[going]
        if not active.size:
            break
        p[active] = _improved(p[active], q[active], qp[going], pqp[going])
    return p


def _improved(p: np.ndarray, q: np.ndarray, qp: np.ndarray, pqp: np.ndarray) -> np.ndarray:
    """One round: every class in turn gets the probability that is best given the others."""
    for index in range(p.shape[1]):
        step = (pqp - qp[:, index]) / q[:, index, index]
        total = 1 + step
        pqp = (pqp + step * (step * q[:, index, index] + 2 * qp[:, index])) / np.square(total)
        qp = (qp + step[:, None] * q[:, index]) / total[:, None]
        p[:, index] += step
        p /= total[:, None]
    return p
