"Options that experiments share, declared once, and the limits of their values."
from pathlib import Path
from fastcore.basics import AttrDict
from fastcore.meta import delegates  # experiments take it from here: they import nothing before `planet.cli`
from planet.cli import UserError, near_names, takes
from planet.trackers import check_track

__all__ = ['DECIDE', 'LIMITS', 'PRECISIONS', 'RECIPES', 'RECIPE_OPTIONS', 'RUN_OPTIONS', 'SPLITS',
           'check_options', 'check_unused', 'chip_options', 'delegates', 'options']

LIMITS = dict(thresh=(0, 1), valid_pct=(0, 1), size=(32, 4096), presize=(32, 8192), bs=(2, 65536), epochs=(1, 10_000),
              freeze_epochs=(0, 10_000), lr=(1e-12, 100), sgd_lr=(1e-12, 100), workers=(0, 1024), seed=(0, 2**32-1),
              body_lr=(1e-12, 100), views=(1, 8), mixup=(0, 10), light=(0, 1),
              threads=(0, 1024), folds=(0, 1000), fold=(0, 999),
              patience=(0, 10_000))

PRECISIONS = 'auto', 'fp32', 'bf16', 'fp16'

RECIPES = { # what options are by default; the epochs of a frozen head take seconds in all
    'finetune': dict(epochs=3, freeze_epochs=4, lr=3e-3),
    'frozen': dict(freeze_epochs=20, lr=1e-3),
    'frozen+finetune': dict(epochs=2, freeze_epochs=20, lr=1e-3)}

UNUSED = { # options that a recipe would leave aside without a word, and why
    'finetune': dict(views='it trains on all eight, at random', body_lr='it has `lr`'),
    'frozen': dict(epochs='its head has `freeze_epochs`', patience='its head takes seconds',
                   body_lr='its body stays as it is', mixup='its chips are seen once', light='its chips are seen once')}

SPLITS = 'auto', 'random', 'ungrouped' # other values name a file

DECIDE = 'thresh', 'tuned', 'expected' # decision rules by name

# of scripts that train by `planet.recipes`: others leave them out
RECIPE_OPTIONS = 'recipe', 'body_lr', 'views', 'mixup', 'light', 'precision', 'threads'

# of scripts that record a run: others leave them out
RUN_OPTIONS = 'out', 'name', 'resume', 'patience', 'deterministic', 'track', 'wandb', 'wandb_mode', 'pickle'

def check_options(given:dict, # name -> value; those that have no limits are let through
                 ):
    "Raise a `UserError` for the first option that is outside its limits (NaN is outside)."
    for name, (low, high) in LIMITS.items():
        if given.get(name) is not None and not low <= given[name] <= high:
            raise UserError(f'{given[name]} is outside {low:g} to {high:g}', option=name)
    if (recipe := given.get('recipe', 'finetune')) not in RECIPES:
        raise UserError(f"{recipe} is unknown: one of {', '.join(RECIPES)}{near_names(recipe, RECIPES)}", 'recipe')
    if given.get('precision', 'auto') not in PRECISIONS:
        raise UserError(f"{given['precision']} is unknown: one of {', '.join(PRECISIONS)}", option='precision')
    if (decide := given.get('decide', 'thresh')) not in DECIDE:
        raise UserError(f"{decide} is unknown: one of {', '.join(DECIDE)}{near_names(decide, DECIDE)}", option='decide')
    if recipe != 'finetune' and given.get('freeze_epochs') == 0:
        raise UserError(f'0 would leave the head of recipe {recipe} untrained', option='freeze_epochs')
    if (groups := given.get('groups')) and not Path(groups).expanduser().is_file():
        inside = Path(groups).expanduser()/'groups.csv'
        raise UserError(f'{groups} is a folder: give {inside}' if inside.is_file() else
                        f'{groups}: no such file (planet-data neighbours writes one, groups.csv)', option='groups')
    if (split := str(given.get('split', 'auto'))) not in SPLITS and not Path(split).expanduser().exists():
        near = near_names(split, SPLITS)
        raise UserError(f"{split}: no such file (or {', '.join(SPLITS)}){near}", option='split')
    folds, fold = given.get('folds', 0), given.get('fold', 0)
    if folds == 1:
        other = ', or 0 for a random split' if takes('fold') else ''
        raise UserError(f'1 leaves no chip to train on: 2 or more{other}', option='folds')
    if fold and not folds: raise UserError(f'{fold} needs `folds`, the number of folds to make', option='fold')
    if folds and split not in SPLITS:
        raise UserError(f'{split} has no use with `folds`, which are the split: leave one out', option='split')
    if folds and fold >= folds:
        raise UserError(f'{fold} is none of the {folds} folds: they go from 0 to {folds-1}', option='fold')

def check_unused(o:AttrDict, # all options of an experiment
                 unused:dict, # option -> why it would be left aside without a word
                 **own, # defaults of the experiment's own options
                ):
    "Raise a `UserError` for the first of the unused options that differs from its default."
    usual = chip_options() | own
    for name, why in unused.items():
        if o[name] != usual[name]: raise UserError(f'{o[name]} has no use {why}', option=name)

def chip_options(
    data:str='auto', # chips: a folder with a label table, sample, synthetic, a set of planet-data get, or auto
    label_delim:str='', # what separates tags in the table: a character, space, or none for one tag; by default detected
    bands:str='', # of GeoTIFF chips: red,green,blue,nir, numbers from 1, or all; by default red, green, blue
    weights:str='auto', # where the backbone starts: auto, imagenet, none, or a .safetensors or .pth file (a+b for two)
    arch:str='resnet50', # backbone, of torchvision or timm; several by + (resnet18+resnet50) have their features joined
    size:str=128, # height and width of a chip, in pixels; planet_resnet50.py also trains at several in turn (128,256)
    bs:int=64, # chips in a batch
    recipe:str='finetune', # finetune; frozen, a head on features computed once; or frozen+finetune, then all layers
    epochs:str=None, # epochs with all layers (one number for each `size`, or one for all); default 3, frozen+finetune 2
    freeze_epochs:str=None, # epochs with the head alone, before those with all layers; default 4, frozen recipes 20
    lr:float=None, # base learning rate; default 3e-3, of a head on frozen features 1e-3
    mixup:float=0, # blend pairs of training chips and their tags (MixUp), by a share of Beta(mixup, mixup); 0: none
    light:float=0, # random brightness and contrast of training chips, by this share; 0: none
    body_lr:float=1e-4, # learning rate of all layers in recipe frozen+finetune
    views:int=2, # flips and rotations of a chip that recipe frozen computes features of, 1 to 8
    precision:str='auto', # number format: auto asks the device; fp32, bf16, fp16
    threads:int=0, # CPU threads for training; 0: as many as make a step fastest, measured at the start
    tta:bool=True, # no test-time augmentation: predict from one view of a chip, not the mean of its eight
    valid_pct:float=0.2, # share of the chips in the validation set, without `folds`
    split:str='auto', # auto: the table's own (is_valid, split) if it has one; random; ungrouped; or a CSV file of one
    groups:str='', # chips that stay together: a CSV of image_name,group (planet-data neighbours); ungrouped splits them
    folds:int=0, # cut the chips into so many stratified folds, kept in OUT/folds; 0: a random split
    fold:int=0, # the fold that is the validation set
    seed:int=42, # random seed of the split, the head and the order of chips
    workers:int=0, # processes that load batches
    skip_bad:bool=False, # leave out chips that cannot be read, and record which
    out:str='runs', # where the record goes
    name:str='', # name of the run, by which planet-runs finds it; its folder's name ends with it
    resume:str='', # go on with a run that did not end: its folder, name, last or a checkpoint; other options as then
    patience:int=0, # end a stage after so many epochs without a better validation score, and keep the best; 0: never
    deterministic:bool=False, # bit-equal results on a GPU too, where it slows training down
    track:str='none', # experiment trackers, by comma: wandb, tensorboard, trackio, mlflow
    wandb:bool=False, # short for --track wandb
    wandb_mode:str='', # online or offline; by default online, or as WANDB_MODE says
    pickle:bool=False, # also keep fastai's learner.pkl, which runs code when it is loaded
) -> dict:
    "Options that all experiments on chips share: `@delegates(chip_options)` gives them to a `main(..., **kwargs)`."
    return dict(locals())

def whole_numbers(text, name) -> list:
    "The whole numbers of an option, one or several by comma."
    try: return [int(o) for o in str(text).split(',')]
    except ValueError: raise UserError(f'{text} is no whole number, nor several by comma', option=name) from None

def stages_of(found:dict) -> list: # of `(size, freeze_epochs, epochs)`
    "What is trained at each size, where several are given; each option becomes that of the first size."
    names = [name for name in ('size', 'freeze_epochs', 'epochs') if found.get(name) is not None]
    lists = {name: whole_numbers(found[name], name) for name in names}
    n = len(lists.get('size', [0]))
    for name, values in lists.items():
        if len(values) not in (1, n):
            raise UserError(f'{found[name]}: {len(values)} numbers for {n} of `size`: give one, or one each', name)
        for value in values: check_options({name: value})
        found[name] = values[0]
    if n > 1 and found.get('recipe') != 'finetune':
        raise UserError(f"{','.join(map(str, lists['size']))}: several are for recipe finetune alone, give one", 'size')
    return list(zip(*(values*(n//len(values)) for values in lists.values()))) if n > 1 else []

def options(shared:dict, # from `chip_options`
            progressive:bool=False, # may it train at several sizes, one after the other?
            recipes:bool=False, # does it train by `recipe`? then options that a recipe leaves aside are refused
            **own, # the experiment's own
           ) -> AttrDict: # both, as attributes too
    "All options of a run as one value, checked; raises `UserError` for one outside its limits."
    found = AttrDict(shared | own)
    for name, value in RECIPES.get(found.get('recipe'), {}).items(): # other experiments have their own
        if name in found and found[name] is None: found[name] = value
    stages = stages_of(found)
    if stages and not progressive:
        sizes = ','.join(str(stage[0]) for stage in stages)
        raise UserError(f'{sizes}: planet_resnet50.py alone trains at several, give one', option='size')
    if stages: found.stages = stages
    check_options(found)
    if recipes:
        check_unused(found, {k: f'in recipe {found.recipe}: {why}' for k, why in UNUSED.get(found.recipe, {}).items()})
        if not found.tta: check_unused(found, dict(views='without test-time augmentation, which is one view'))
    check_track(found)
    return found
