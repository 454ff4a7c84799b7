"""Multi-label tagging of satellite chips with fastai, from a label table to a scored tagger.

- `planet.tools`, `planet.course`: commands `planet-data`, `planet-runs`; the course's digits, pets, Titanic ...
- `planet.runs`, `planet.records`, `planet.report`, `planet.tracking`: a run's record, its page, W&B and others
- `planet.learner`, `planet.backbones`, `planet.callbacks`: a network and its weights; how it learns and predicts
- `planet.data`, `planet.splits`: chips become `DataLoaders`; training and validation sets, folds
- `planet.sources`, `planet.download`, `planet.synthetic`: the value of `data` becomes `Chips`; fetching; drawing
- `planet.images`, `planet.chips`, `planet.quality`: decoding; tagged chips and label tables; checks of both
- `planet.metrics`, `planet.decisions`, `planet.calibration`: scores; tags from probabilities; calibrated probabilities
- `planet.losses`, `planet.amazon`: the losses, which need torch alone; the competition's facts
"""
import warnings

# fastai calls a function that the newest torch deprecates: nothing that a user of ours can act on
warnings.filterwarnings('ignore', message='.*torch.jit.script.*')
