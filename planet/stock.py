"Stock fastai as the course writes it, `ImageBlock`, `vision_learner` and `fine_tune` in fp32: what ours is beside."
from planet.backbones import find_backbone
from planet.data import LabelOf
from planet.learner import start_weights
from planet.weights import read_weights

__all__ = ['stock_learner']

def stock_learner(
    chips, # `Chips` of red, green and blue
    split, # their `Split`
    size:int=128, # height and width of a chip, in pixels
    bs:int=64, workers:int=0, # chips in a batch, and processes that load batches
    arch='resnet50', # backbone
    weights:str='imagenet', # where it starts: auto, imagenet, none, or a .safetensors or .pth file
): # -> `Learner`
    "fastai's own multi-label learner: no prior-bias head, no bf16, no test-time augmentation."
    from fastai.vision.all import (
        DataBlock,
        DihedralItem,
        ImageBlock,
        MultiCategoryBlock,
        Normalize,
        Resize,
        imagenet_stats,
        vision_learner,
    )
    block = DataBlock((ImageBlock, MultiCategoryBlock(vocab=chips.vocab)), get_y=LabelOf(chips.paths, chips.table.tags),
                      splitter=lambda paths: (split.train, split.valid), item_tfms=[Resize(size), DihedralItem()],
                      batch_tfms=Normalize.from_stats(*imagenet_stats))
    dls = block.dataloaders(chips.paths, bs=min(bs, len(split.train)), num_workers=workers)
    backbone = find_backbone(arch)
    def build(pretrained): return vision_learner(dls, backbone.arch, pretrained=pretrained)
    learn, learn.weights = start_weights(backbone, build, weights)
    if weights not in ('auto', 'imagenet', 'none'): backbone.load(learn, size, 3, read_weights(weights), weights)
    return learn
