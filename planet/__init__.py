"Multi-label tagging of satellite chips, learned and taught with fastai."
