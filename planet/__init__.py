"""Modules:

- `planet.download.archives`: Unpack `.zip`, `.tar`, `.tar.gz`, `.7z` and `.tar.7z`: with progress, inside the folder asked for, all or nothing.
- `planet.download.competition`: The competition's files, from wherever they can be had into a folder that `from_folder` reads.
- `planet.download.http`: Fetch a file: with progress, on from where an interruption left it, checked before it gets its name.
- `planet.download.kaggle`: Kaggle's API with the credentials of this machine: lists and opens the files of competitions and datasets.
- `planet.plots`: Every plot: a data set's tags and chips, the curves of a training, predictions beside the truth.
- `planet.results`: Evaluate a model on its validation set: probabilities, decision rule, scores with confidence intervals, tables.
- `planet.runs`: One run's record: a folder that is there from the first second and keeps whatever the run got to, however it ends.
- `planet.splits`: Training and validation sets: random, by multi-label stratified folds, or as given; duplicates stay together.
- `planet.synthetic.cache`: Folders drawn by code: whole or not there, gone on with after an interruption, and kept in one cache.
- `planet.synthetic.chips`: Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account.
- `planet.synthetic.clearings`: Synthetic chips of forest with one clearing each, and its centre: a data set for the regression of a point.
- `planet.tools.doctor`: Checks of the installation and the machine, a line each: ok, a note, or what to fix.
- `planet.tools.fiftyone_dataset`: A FiftyOne dataset of chips, tags and a run's predictions (extra `planet-chips[fiftyone]`)."""
