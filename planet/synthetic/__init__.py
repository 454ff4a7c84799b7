"Pictures drawn by code, from tags and a seed, for machines without real ones; one cache keeps them."
