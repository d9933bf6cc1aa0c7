"""What becomes of a bolus on its way: later, and wider."""

from __future__ import annotations

import torch
from torch import Tensor


def dispersed(curve: Tensor, times: Tensor, width_s: float) -> Tensor:
    """A curve (T,) after exponentially distributed transit times with a mean of `width_s`, at the same times (T,)."""
    lag_s = times[:, None] - times
    share = torch.where(lag_s >= 0, torch.exp(-lag_s / max(width_s, 1e-3)), 0.0) * torch.gradient(times)[0]
    share.diagonal().div_(2)  # trapezoidal rule
    return (share @ curve) / share.sum(dim=1)


def delayed(curve: Tensor, times: Tensor, delay_s: Tensor) -> Tensor:
    """A curve (T,) at times (T,), later by delays (N,) in s, (T, N): linear between frames, 0 before the first."""
    wanted = times[:, None] - delay_s
    after = torch.searchsorted(times, wanted.clamp_min(0)).clamp(1, len(times) - 1)
    share = (wanted - times[after - 1]) / (times[after] - times[after - 1])
    return torch.where(wanted >= 0, torch.lerp(curve[after - 1], curve[after], share.clamp(0, 1)), 0.0)


def correlation(curves: Tensor, others: Tensor) -> Tensor:
    """Correlation (N,) of curves (T, N) with other curves (T, N) or (T, 1)."""
    centered, other = curves - curves.mean(dim=0), others - others.mean(dim=0)
    return (other * centered).sum(dim=0) / (centered.norm(dim=0) * other.norm(dim=0)).clamp_min(1e-6)
