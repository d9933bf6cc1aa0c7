"""A network that copies one channel of its input into the lesion's logit."""

import torch
from torch import nn


class CopyChannel(nn.Module):
    """Logits whose difference is 20 (x - 0.5): above 0 where the channel is above one half."""

    def __init__(self, channel: int):
        super().__init__()
        self.channel = channel

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        value = 10 * (image[:, self.channel : self.channel + 1] - 0.5)
        return torch.cat([-value, value], dim=1)
