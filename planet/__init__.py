"""Multi-label tagging of satellite chips with fastai, from a label table to a scored tagger.

- `planet.tools`, `planet.course`: commands `planet-data`, `planet-runs`, `planet-tag`; the course's digits, pets ...
- `planet.inference`, `planet.scenes`, `planet.submission`: a model folder tags chips, scenes, a competition's test set
- `planet.runs`, `planet.report`, `planet.crossval`, `planet.stacking`: a run's record and page; out-of-fold scores
- `planet.recipes`, `planet.learner`, `planet.backbones`, `planet.callbacks`: networks and how they are trained
- `planet.data`, `planet.splits`, `planet.neighbours`: chips become `DataLoaders`; folds; chips that lie side by side
- `planet.sources`, `planet.download`, `planet.synthetic`: the value of `data` becomes `Chips`; fetching; drawing
- `planet.store`, `planet.images`, `planet.chips`, `planet.quality`: decoding; tagged chips and label tables; checks
- `planet.metrics`, `planet.decisions`, `planet.calibration`, `planet.losses`, `planet.amazon`: scores, rules, losses
"""
import warnings

# fastai calls a function that the newest torch deprecates: nothing that a user of ours can act on
warnings.filterwarnings('ignore', message='.*torch.jit.script.*')
