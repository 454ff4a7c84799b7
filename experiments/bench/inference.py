"""Benchmark inference: images a second from files to tags, beside the network alone and stock fastai's `get_preds`.

    python experiments/bench/inference.py best --data sample --engines torch,onnx,int8

MODEL is a model folder, a run, `last` or `best`, exported by `planet-tag MODEL --export int8`. Each engine is timed
with one view of a chip, as stock predicts, and with those that the model was scored with: from files (decoded ahead in
threads) and on tensors in place. F2 is of the model's own validation chips, with the 95 % interval of the difference
to stock's answers with the same weights.
"""
from time import perf_counter
from planet.cli import say, script

def stock_probs(network, size, vocab, paths, bs):
    "fastai's `get_preds` with the same weights in fp32: files through `ImageBlock`; the second of two calls is timed."
    from copy import deepcopy
    import torch
    from fastai.vision.all import DataBlock, ImageBlock, Learner, MultiCategoryBlock, Normalize, Resize, noop
    mean, std = (t.flatten().tolist() for t in (network.mean, network.std))
    block = DataBlock((ImageBlock, MultiCategoryBlock(vocab=vocab)), get_y=lambda path: [], item_tfms=Resize(size),
                      batch_tfms=Normalize.from_stats(mean, std), splitter=lambda items: ([0, 1], [0]))
    plain = deepcopy(network.model).to(memory_format=torch.contiguous_format)
    learn = Learner(block.dataloaders(paths[:2], bs=bs, num_workers=0), plain, loss_func=noop)
    def predict(paths):
        with learn.no_bar(): return learn.get_preds(dl=learn.dls.test_dl(paths), act=lambda x: x.sigmoid())[0]
    predict(paths[:bs])
    start = perf_counter()
    probs = predict(paths)
    return probs, len(paths)/(perf_counter() - start)

def rates(tagger, paths, bs):
    "Images a second from files to tags and on tensors in place, and the probabilities."
    import torch
    from planet.inference import tag_stream
    pixels = torch.stack([tagger.open(p) for p in paths[:4*bs]])
    tagger.probabilities(pixels[:bs]) # warm
    start = perf_counter()
    for some in pixels.split(bs): tagger.decide(tagger.probabilities(some))
    in_place, start = len(pixels)/(perf_counter() - start), perf_counter()
    found = []
    for _, probs, _ in tag_stream(tagger, paths, bs):
        tagger.decide(probs)
        found.append(probs)
    return len(paths)/(perf_counter() - start), in_place, torch.cat(found)

@script
def main(
    model:str, # model folder, run, last or best
    data:str='', # the labelled chips that it was trained on; by default where its record says they are
    engines:str='torch,onnx,int8', # by comma; those that are not installed or exported are left out
    chips:int=1000, # images to time, of which the validation chips are repeated as often as it takes
    bs:int=32, # images in a batch
    runs:str='runs', # where records of runs lie
):
    "Time inference from files to tags by engine, and score each engine on the model's validation chips."
    from planet.cli import UserError
    from planet.export import checked_chips
    from planet.inference import Tagger
    from planet.metrics import bootstrap_interval, fbeta_per_chip
    from planet.model_files import find_model, read_model
    from planet.provenance import device_facts
    folder = find_model(model, runs)
    facts = read_model(folder)
    if facts['kind'] != 'tags' or len(facts['members']) > 1:
        raise UserError('one network of tags is wanted: name another model')
    _, valid, targs = checked_chips(facts, folder, data)
    many = (valid*(chips//len(valid) + 1))[:max(chips, len(valid))]
    exact = Tagger.load(folder)
    network = exact.networks[0]
    say(f'device: {device_facts(network.device)}; {len(many):,} images, {len(valid)} validation chips', '')
    probs, base = stock_probs(network, exact.size, exact.vocab, many, bs)
    def f2(probs): return fbeta_per_chip(exact.decide(probs[:len(valid)]), targs > .5)
    first = f2(probs)
    columns = f"{'views':>6}{'files/s':>10}{'in place/s':>12}{'ratio':>8}{'x stock':>9}{'F2':>9}{'difference':>22}"
    say(f"{'engine':<10}{columns}", f"{'stock':<10}{1:>6}{base:>10.1f}{'':>12}{'':>8}{1:>9.2f}{first.mean():>9.4f}")
    for engine in engines.split(','):
        try: tagger = Tagger.load(folder, engine)
        except UserError as e:
            say(f'{engine}: left out ({e})')
            continue
        for views in dict.fromkeys((1, tagger.networks[0].views)):
            tagger.networks[0].views = views
            from_files, in_place, probs = rates(tagger, many, bs)
            second = f2(probs)
            low, high = bootstrap_interval(second, first)
            say(f'{engine:<10}{views:>6}{from_files:>10.1f}{in_place:>12.1f}{from_files/in_place:>8.0%}'
                f"{from_files/base:>9.2f}{second.mean():>9.4f}{f'{low:+.4f} to {high:+.4f}':>22}")
