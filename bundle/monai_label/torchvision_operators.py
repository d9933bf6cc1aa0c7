"""Let torchvision from PyPI be imported beside a PyTorch without CUDA.

MONAI Label imports torchvision to draw pictures of patches. The Linux wheel on PyPI is built for CUDA: beside a CPU
build of PyTorch its library does not load, the operators it would register are missing, and the import fails, because
torchvision describes two of them to PyTorch unconditionally. Declared, not implemented, the two are enough for the
import and for all that MONAI Label does; calling one raises torchvision's own "Couldn't load custom C++ ops".

`make env-monailabel` copies this module into the environment, and a `.pth` file beside it imports it when Python
starts, as a hook that does nothing until torchvision is asked for. Nothing of torchvision is changed.
"""

import sys
from importlib.abc import MetaPathFinder
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


class DeclareOperators(MetaPathFinder):
    """Finds nothing, but declares the operators at the moment of the first `import torchvision`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        """Declare once, and leave the finding to the finders that follow."""
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None:  # with CUDA torchvision's own library loads and defines them
            # Kept alive: a Library takes its operators along when it goes.
            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for schema in SCHEMAS:
                self.library.define(schema)
            declared.append(self)


declared: list[DeclareOperators] = []
sys.meta_path.insert(0, DeclareOperators())
