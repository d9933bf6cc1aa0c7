"""Initial weights of the networks."""

from torch import nn

WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Conv3d, nn.ConvTranspose3d, nn.Linear)


def initialize_xavier(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers from Glorot and Bengio's uniform distribution; biases zero.

    Wang 2020, section 4.1, initializes all networks so. Normalization layers are not changed.
    """
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
