"""Run an exported network of a model folder in onnxruntime or OpenVINO: uint8 pixels to logits, as `Network` does.

The ONNX graph holds the normalisation and one view; the eight views are averaged here."""
import os
from pathlib import Path
import torch
from planet.callbacks import D4
from planet.cli import UserError

__all__ = ['SUFFIX', 'Runtime', 'load_runtime']

SUFFIX = dict(onnx='.onnx', int8='.int8.onnx', openvino='.onnx') # of the file beside a network's weights
PACKAGE = dict(onnx='onnxruntime', int8='onnxruntime', openvino='openvino')

class Runtime:
    "An exported network: uint8 pixels `(n, bands, size, size)` to float32 logits `(n, tags)`, its views averaged."
    def __init__(self, run, # uint8 array -> logits of one view, an array
                 views:int=1):
        self.run, self.views = run, views
    def __call__(self, pixels):
        from fastai.torch_core import TensorImage
        logits = 0
        for k in D4[:self.views]:
            view = TensorImage(pixels).dihedral(k).as_subclass(torch.Tensor) if k else pixels
            logits = logits + torch.from_numpy(self.run(view.contiguous().numpy()).copy())
        return logits/self.views

def _onnxruntime(path):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    session = onnxruntime.InferenceSession(str(path), options, providers=onnxruntime.get_available_providers())
    return lambda pixels: session.run(None, dict(pixels=pixels))[0]

def _openvino(path):
    os.environ.setdefault('OPENVINO_TELEMETRY', '0')
    import openvino
    core = openvino.Core()
    # bf16 where the processor has units for it, as OpenVINO's own default is
    model = core.compile_model(core.read_model(str(path)), 'CPU', dict(INFERENCE_NUM_THREADS=torch.get_num_threads(),
                                                                       PERFORMANCE_HINT='THROUGHPUT', NUM_STREAMS='1'))
    return lambda pixels: model(pixels)[0]

def load_runtime(folder, # a model folder
                 facts:dict, # one of its members
                 engine:str, # `onnx`, `int8` or `openvino`
                ) -> Runtime:
    "Load an exported network; `UserError` where it was not exported, or the runtime is not installed."
    path = (Path(folder)/facts['weights']).with_suffix(SUFFIX[engine])
    if not path.is_file():
        export = 'int8' if engine == 'int8' else 'onnx'
        raise UserError(f'{engine} needs {path}, which is not there: `export` {export} makes it', option='engine')
    try: run = (_openvino if engine == 'openvino' else _onnxruntime)(path)
    except ImportError:
        raise UserError(f'{engine} needs {PACKAGE[engine]}: pip install {PACKAGE[engine]}', option='engine') from None
    return Runtime(run, facts['views'])
