"""Export a model folder's networks to ONNX and to int8, checked: logits beside torch's, F2 beside fp32's.

The graph takes uint8 pixels `(n, bands, size, size)`, normalises them and gives the logits of one view."""
import logging
import warnings
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
import torch
from planet.cli import UserError, near_names, say
from planet.inference import Tagger, load_network, tag_stream
from planet.model_files import read_model, read_validation, write_facts
from planet.process import ignored_signals
from planet.runtimes import SUFFIX

__all__ = ['KINDS', 'checked_chips', 'export_onnx', 'quantise', 'export_model']

KINDS = 'onnx', 'int8', 'openvino' # OpenVINO runs the ONNX file, in bf16 where the processor has it
COMPARED, CALIBRATION = 8, 64 # chips whose logits are compared, and those that int8's ranges are measured on
APART = 1e-3 # logits of fp32 that differ by more are an export gone wrong

class PixelsToLogits(torch.nn.Module):
    "A network with its normalisation: what is exported."
    def __init__(self, network):
        super().__init__()
        self.model = network.model
        for k in ('mean', 'std'): self.register_buffer(k, getattr(network, k))
    def forward(self, pixels): return self.model((pixels.float()/255 - self.mean)/self.std)

@contextmanager
def _silent():
    "The exporter logs and warns about its own inner workings."
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally: logging.disable(before)

def _needs(package):
    try: return __import__(package)
    except ImportError:
        several = 'openvino' if package == 'openvino' else 'onnx onnxscript onnxruntime'
        raise UserError(f'{package} is not installed: pip install {several}', option='export') from None

def export_onnx(folder, # a model folder
                member:dict, # one of its `members`
                path, # file to write
               ):
    "Export a network with its normalisation to ONNX, in fp32 and for batches of any size."
    for package in ('onnx', 'onnxscript', 'onnxruntime'): _needs(package)
    network = load_network(Path(folder), member | dict(precision='fp32'), 'cpu')
    settings, part = member['settings'], Path(path).with_name(f'.{Path(path).name}.part')
    # an example of one image would be taken for the only size of a batch
    example = torch.zeros(2, settings['channels'], settings['size'], settings['size'], dtype=torch.uint8)
    try:
        with _silent(), torch.no_grad():
            torch.onnx.export(PixelsToLogits(network).eval(), (example,), str(part), input_names=['pixels'],
                              output_names=['logits'], dynamo=True, external_data=False, verbose=False,
                              dynamic_shapes=dict(pixels={0: torch.export.Dim('batch', min=1, max=4096)}))
        part.replace(path)
    finally: part.unlink(missing_ok=True)

def quantise(path, # of an ONNX file from `export_onnx`
             to, # file to write
             batches, # uint8 arrays `(n, bands, size, size)` on which ranges are measured: of training chips
            ):
    "Static int8 quantisation by onnxruntime: weights per channel, ranges of activations measured on chips."
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process
    class Reader(CalibrationDataReader):
        def __init__(self): self.left = iter(batches)
        def get_next(self): return next((dict(pixels=b) for b in self.left), None)
    to = Path(to)
    plain, part = (to.with_name(f'.{to.name}.{o}') for o in ('plain', 'part'))
    try:
        with _silent():
            quant_pre_process(str(path), str(plain), skip_symbolic_shape=True)
            quantize_static(str(plain), str(part), Reader(), quant_format=QuantFormat.QDQ, per_channel=True,
                            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
                            op_types_to_quantize=['Conv', 'MatMul', 'Gemm', 'Add', 'MaxPool', 'GlobalAveragePool'],
                            calibrate_method=CalibrationMethod.MinMax, extra_options=dict(WeightSymmetric=True))
        part.replace(to)
    finally:
        for o in (plain, part): o.unlink(missing_ok=True)

# ---- chips to check it on

def checked_chips(facts, folder, data):
    "Paths of training and of validation chips of a model, and the targets of the latter."
    from planet.bands import recorded_bands
    from planet.sources import find_chips
    names, _, targs, _ = read_validation(folder)
    data = data or facts['trained_on'].get('data') or ''
    try: chips = recorded_bands(find_chips(data), facts['input'])
    except UserError as e:
        raise UserError(f'the chips that the model was trained on are not found ({e}): name their folder',
                        option='data') from None
    row = {n: i for i, n in enumerate(chips.table.image_name)}
    if missing := [n for n in names if n not in row]:
        raise UserError(f'{chips.root} lacks {len(missing)} of {len(names)} validation chips of this model, such as '
                        f'{missing[0]}: name the folder it was trained on', option='data')
    valid = set(names)
    train = [p for p, n in zip(chips.paths, chips.table.image_name) if n not in valid][:CALIBRATION]
    return train, [chips.paths[row[n]] for n in names], torch.from_numpy(targs).float()

def _f2(tagger, paths, targs):
    from planet.metrics import fbeta_per_chip
    probs = torch.cat([probs for _, probs, _ in tag_stream(tagger, paths)])
    if targs.ndim == 1: return (tagger.decide(probs).float().argmax(1) == targs).float()
    return fbeta_per_chip(tagger.decide(probs), targs > .5)

def _difference(tagger, other, pixels):
    return max(float((a(pixels) - b(pixels)).abs().max()) for a, b in zip(tagger.networks, other.networks))

def export_model(folder, # a model folder
                 kinds, # of `KINDS`
                 data:str='', # labelled chips it was trained on; by default those that it names
                ):
    "Export a model folder's networks, compare logits on eight chips and F2 on the validation set, and record both."
    for kind in kinds:
        if kind not in KINDS:
            raise UserError(f"{kind} is unknown: one of {', '.join(KINDS)}{near_names(kind, KINDS)}", option='export')
    folder = Path(folder)
    facts = read_model(folder)
    if len({m['settings'].get('size') for m in facts['members']}) > 1:
        raise UserError(f'{folder} stacks networks of several sizes of images: export those of its runs',
                        option='export')
    for package in ('onnx', 'onnxscript', 'onnxruntime', *['openvino']*('openvino' in kinds)): _needs(package)
    train, valid, targs = checked_chips(facts, folder, data)
    exact = Tagger.load(folder, device='cpu')
    for network in exact.networks: network.dtype = None # ONNX is in fp32: compared with torch's
    first = _f2(exact, valid, targs)
    pixels = torch.stack([exact.open(p) for p in valid[:COMPARED]])
    found, name = dict(facts.get('exports') or {}), facts['headline']['name']
    # in the model folder once all are checked: one that fails, or is broken off, leaves the folder as it was
    with TemporaryDirectory(prefix='.export-', dir=folder) as room:
        for kind in dict.fromkeys(('onnx', *kinds)):
            for member in facts['members']:
                path = (Path(room)/member['weights']).with_suffix(SUFFIX[kind])
                if kind == 'onnx': export_onnx(folder, member, path)
                elif kind == 'int8':
                    chips = [exact.open(p).numpy() for p in train]
                    quantise(path.with_suffix('').with_suffix('.onnx'), path, [c[None] for c in chips])
            other = Tagger(facts, [_runtime(room, m, kind) for m in facts['members']], kind)
            apart = _difference(exact, other, pixels)
            if kind == 'onnx' and not apart < APART:
                raise UserError(f'the ONNX logits differ from torch\'s by {apart:.2g} on {len(pixels)} chips: '
                                'this network cannot be exported', option='export')
            second = _f2(other, valid, targs)
            found[kind] = dict(logits_apart=apart, score=float(second.mean()), torch=float(first.mean()),
                               chips=len(valid))
            say(f'{kind}: logits differ from torch fp32 by at most {apart:.2g} on {len(pixels)} chips; '
                f'{name} {second.mean():.4f} beside {first.mean():.4f} on {len(valid)} validation chips'
                + _interval(first, second))
        with ignored_signals():
            for made in Path(room).glob('*.onnx'): made.replace(folder/made.name)
            write_facts(folder, facts | dict(exports=found))
    say(f'in {folder}')

def _runtime(folder, member, kind):
    from planet.runtimes import load_runtime
    return load_runtime(folder, member, kind)

def _interval(first, second):
    from planet.metrics import bootstrap_interval
    low, high = bootstrap_interval(second, first)
    return f' (95 % interval of the difference {low:+.4f} to {high:+.4f})'
