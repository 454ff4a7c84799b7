"A simulated device without float64, as Apple's MPS is: it refuses float64, NumPy, and tensors of other devices."
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

NAME = 'lazy' # a device that torch knows and that needs no library

class OnDevice(torch.Tensor):
    "A tensor that says it lies on `NAME`, and keeps its numbers in a tensor on the CPU"
    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, strides=inner.stride(), dtype=inner.dtype,
                                                   device=NAME)
    def __init__(self, inner): self.inner = inner
    def __repr__(self): return f'OnDevice({self.inner})'
    def as_subclass(self, cls): return self # there is no other class for it
    def tolist(self): return self.inner.tolist()
    def numpy(self): raise TypeError(f"can't convert {NAME} device type tensor to numpy. Use Tensor.cpu()")
    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})

def run(func, args, kwargs):
    "`func` on the inner tensors: on the device if any argument is, or if it is asked for by name"
    seen = []
    tree_map(lambda x: seen.append(x) if isinstance(x, torch.Tensor) else None, (args, kwargs))
    on = any(isinstance(x, OnDevice) for x in seen)
    copies = func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
    if on and not copies and any(not isinstance(x, OnDevice) and x.ndim for x in seen):
        raise RuntimeError(f'Expected all tensors to be on the same device, but found {NAME} and cpu! ({func})')
    if kwargs.get('device') is not None:
        on = torch.device(kwargs['device']).type == NAME
        kwargs = dict(kwargs, device='cpu')
    args, kwargs = tree_map(lambda x: x.inner if isinstance(x, OnDevice) else x, (args, kwargs))
    if on and kwargs.get('dtype') == torch.float64: raise TypeError('the framework does not support float64')
    out = func(*args, **kwargs)
    def wrap(x):
        if not isinstance(x, torch.Tensor): return x
        if x.dtype == torch.float64: raise TypeError(f'Cannot convert a tensor to float64 on {NAME} ({func})')
        return OnDevice(x)
    return tree_map(wrap, out) if on else out

class Device(TorchDispatchMode):
    "While it is open, tensors can be made on and moved to `NAME`"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return run(func, args, kwargs or {})
