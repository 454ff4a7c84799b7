"Data augmentation of a batch on its device: light changes of brightness and contrast in one pass."
import torch
from fastai.data.transforms import IntToFloatTensor
from fastai.torch_core import TensorImage
from fastai.vision.augment import RandTransform

__all__ = ['LightBatch']

class LightBatch(RandTransform):
    """Random brightness and contrast of training images, each its own, in one pass over the batch.

    Contrast is multiplied by a number within 1 - `amount` and 1 + `amount`, around mid-grey; brightness changes by half
    of that at most. What leaves the range of an image is clipped. """
    order = IntToFloatTensor.order+1 # on floats between 0 and 1, before they are normalised
    def __init__(self,
        amount:float=0.1, # 0 to 1
    ):
        super().__init__(p=1.)
        self.amount = amount
    def encodes(self, x:TensorImage):
        drawn = torch.rand(2, len(x), 1, 1, 1).to(x.device)*2 - 1 # on the CPU: the same numbers on every device
        scale, shift = 1 + self.amount*drawn[0], self.amount/2*drawn[1]
        return x.mul_(scale).add_(shift + .5*(1 - scale)).clamp_(0, 1)
