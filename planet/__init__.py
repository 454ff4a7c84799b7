"""Modules:

- `planet.clearings`: Chips of forest with one clearing each, and where its centre is: what a regression of a point can learn from.
- `planet.explore`: Chips, tags and a run's predictions in FiftyOne's app, to look at what went wrong (extra `planet-chips[fiftyone]`).
- `planet.painting`: Pictures of the Amazon from above, painted from a set of tags and a seed; `synthetic` makes data sets of them.
- `planet.points`: Images with one point each: where they come from, batches whose flips move the point too, a learner, its score in pixels.
- `planet.sources.account`: The Kaggle account of this machine: where its credentials lie, whether they work, and the client that uses them.
- `planet.sources.archives`: Unpack `.zip`, `.tar`, `.tar.gz`, `.7z` and `.tar.7z`: with progress, inside the folder asked for, all or nothing.
- `planet.sources.competition`: The competition's files, from wherever they can be had into a folder that `from_folder` reads.
- `planet.sources.download`: Fetch a file: with progress, on from where an interruption left it, checked before it gets its name.
- `planet.sources.machine`: What this machine has for `planet`, a line each: ok, a note, or what to fix.
- `planet.synthetic`: Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account.
- `planet.titanic`: Passengers become numbers, and numbers a probability: what `titanic_mlp.py` and its notebook share."""
