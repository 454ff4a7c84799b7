"AdamW in torch's fused kernel, one call for all parameters of a group, with fastai's hyperparameters and state."
import torch
from fastai.optimizer import Adam, Optimizer
from torch.optim.adamw import adamw

__all__ = ['FusedAdam', 'adam_for']

def laid_out(
    tensor:torch.Tensor,
    like:torch.Tensor, # of the same shape
) -> torch.Tensor:
    "A tensor in the memory layout of another: the fused kernel goes through both side by side."
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)

class FusedAdam(Optimizer):
    "fastai's `Adam` with decoupled weight decay, in one pass over the memory of each parameter instead of eight."
    def __init__(self,
        params, # as fastai's `Optimizer` takes them
        lr, mom:float=0.9, sqr_mom:float=0.99, eps:float=1e-5, wd:float=0.01, # as in fastai's `Adam`
    ):
        super().__init__(params, [], lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    def zero_grad(self): # without a pass over memory: torch's own optimizers do the same
        for p, *_ in self.all_params(with_grad=True): p.grad = None
    @torch.no_grad()
    def step(self, closure=None):
        if closure is not None: raise NotImplementedError('fastai optimizers take no closure')
        groups = {}
        for p, _, state, hyper in self.all_params(with_grad=True):
            if 'grad_avg' not in state:
                state.update(grad_avg=torch.zeros_like(p), sqr_avg=torch.zeros_like(p), step=0.)
            # what a checkpoint brought back has another layout, and a number of steps that is no tensor
            state.update({k: laid_out(state[k], p) for k in ('grad_avg', 'sqr_avg')})
            state['step'] = torch.as_tensor(state['step'], dtype=torch.float32, device=p.device)
            self.state[p] = state
            wd = hyper['wd'] if state.get('do_wd', True) else 0.
            key = tuple(hyper[k] for k in ('lr', 'mom', 'sqr_mom', 'eps')), wd, p.device, p.dtype
            groups.setdefault(key, []).append((p, laid_out(p.grad, p), state))
        for ((lr, mom, sqr_mom, eps), wd, *_), found in groups.items():
            params, grads, states = zip(*found)
            adamw(list(params), list(grads), [s['grad_avg'] for s in states], [s['sqr_avg'] for s in states], [],
                  [s['step'] for s in states], fused=True, amsgrad=False, maximize=False, lr=lr, beta1=mom,
                  beta2=sqr_mom, weight_decay=wd, eps=eps)

def adam_for(
    device:torch.device,
): # -> an `opt_func` of a `Learner`
    "The fused AdamW where torch has one that is tried here, on CPU and CUDA; else fastai's."
    return FusedAdam if getattr(device, 'type', '') in ('cpu', 'cuda') else Adam
