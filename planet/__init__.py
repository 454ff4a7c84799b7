"""Modules:

- `planet.course.points`: Images with one point each: where they come from, batches whose flips move the point too, a learner, its score in pixels.
- `planet.course.titanic`: Passengers become numbers, and numbers a probability: what `titanic_mlp.py` and its notebook share.
- `planet.download.archives`: Unpack `.zip`, `.tar`, `.tar.gz`, `.7z` and `.tar.7z`: with progress, inside the folder asked for, all or nothing.
- `planet.download.competition`: The competition's files, from wherever they can be had into a folder that `from_folder` reads.
- `planet.download.http`: Fetch a file: with progress, on from where an interruption left it, checked before it gets its name.
- `planet.download.kaggle`: The Kaggle account of this machine: where its credentials lie, whether they work, and the client that uses them.
- `planet.results`: What a scored validation set says: probabilities, targets, names, decision rule, scores with intervals, a table by tag.
- `planet.runs`: One run's record: a folder that is there from the first second and keeps whatever the run got to, however it ends.
- `planet.splits`: Training and validation sets: an official split, a random one, or multi-label stratified folds; duplicates stay together.
- `planet.synthetic.chips`: Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account.
- `planet.synthetic.clearings`: Chips of forest with one clearing each, and where its centre is: what a regression of a point can learn from.
- `planet.synthetic.terrain`: Pictures of the Amazon from above, painted from a set of tags and a seed; `synthetic.chips` makes data sets of them.
- `planet.tools.doctor`: What this machine has for `planet`, a line each: ok, a note, or what to fix.
- `planet.tools.explore`: Chips, tags and a run's predictions in FiftyOne's app, to look at what went wrong (extra `planet-chips[fiftyone]`)."""
