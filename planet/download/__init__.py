"Fetch data sets: files over HTTP, archives, Kaggle, fastai's sets, the competition; each whole and checked."
