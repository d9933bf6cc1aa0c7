"""Networks of the bundle and the wrappers that run them."""

from .context_encoder import ContextEncoder
from .fcn import FCN
from .outputs import TrainingOutputs, WithSynthesis
from .r2unet import R2UNet
from .slnet import SLNet
from .stroke_lesion_net import StrokeLesionNet, StrokeLesionOutput
from .switchable_norm import SwitchableNorm2d
from .unet import UNet

__all__ = [
    "FCN",
    "ContextEncoder",
    "R2UNet",
    "SLNet",
    "StrokeLesionNet",
    "StrokeLesionOutput",
    "SwitchableNorm2d",
    "TrainingOutputs",
    "UNet",
    "WithSynthesis",
]
