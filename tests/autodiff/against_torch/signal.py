"""Fourier transforms."""

from __future__ import annotations

from typing import Any

from tests.autodiff.against_torch.row import row, torch, values


def complex_(x: Any) -> Any:
    return torch.view_as_complex(x.contiguous())


def spectrum(x: Any) -> Any:
    return torch.view_as_real(x).contiguous()


SIGNAL = [
    row("DFT", [values(2, 6, 2), None, 1], lambda x, n, axis: spectrum(torch.fft.fft(complex_(x), dim=1)), version=20),
    row("DFT", [values(2, 6, 2), None, 1], lambda x, n, axis: spectrum(torch.fft.ifft(complex_(x), dim=1)),
        version=20, inverse=1, note="inverse"),
    row("DFT", [values(2, 6, 1), None, 1], lambda x, n, axis: spectrum(torch.fft.rfft(x[..., 0], dim=1)), version=20,
        onesided=1, note="onesided"),
    row("STFT", [values(2, 20, 1), 4, values(8)],
        lambda x, step, window: spectrum(
            torch.stft(x[..., 0], 8, 4, window=window, center=False, return_complex=True).transpose(1, 2)),
        version=17, onesided=1),
]  # fmt: skip
