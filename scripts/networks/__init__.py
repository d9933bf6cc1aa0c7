"""Networks of the bundle and the wrappers that run them."""

from .context_encoder import ContextEncoder
from .fcn import FCN
from .outputs import TrainingOutputs, WithSynthesis
from .pspnet import PSPNet, PSPNetOutput
from .r2unet import R2UNet
from .resunet import ResUNet
from .slnet import SLNet
from .stroke_lesion_net import StrokeLesionNet, StrokeLesionOutput
from .switchable_norm import SwitchableNorm2d
from .unet import UNet
from .vnet import VNet

__all__ = [
    "FCN",
    "ContextEncoder",
    "PSPNet",
    "PSPNetOutput",
    "R2UNet",
    "ResUNet",
    "SLNet",
    "StrokeLesionNet",
    "StrokeLesionOutput",
    "SwitchableNorm2d",
    "TrainingOutputs",
    "UNet",
    "VNet",
    "WithSynthesis",
]
