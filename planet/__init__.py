"""Modules:

- `planet.painting`: Pictures of the Amazon from above, painted from a set of tags and a seed; `synthetic` makes data sets of them.
- `planet.sources.account`: The Kaggle account of this machine: where its credentials lie, whether they work, and the official client that uses them.
- `planet.sources.archives`: Unpack `.zip`, `.tar`, `.tar.gz`, `.7z` and `.tar.7z`: with progress, inside the folder asked for, all or nothing.
- `planet.sources.download`: Fetch a file: with progress, on from where an interruption left it, checked before it gets its name.
- `planet.synthetic`: Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account.
- `planet.titanic`: A table of passengers becomes numbers, and the numbers folds: what `titanic_mlp.py` and its notebook share."""
