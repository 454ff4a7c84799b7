"""Modules:

- `planet.painting`: Pictures of the Amazon from above, painted from a set of tags and a seed; `synthetic` makes data sets of them.
- `planet.synthetic`: Synthetic chips in the competition's own layout, for machines with no network and no Kaggle account."""
