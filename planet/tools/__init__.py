"The commands `planet-data ...` and `planet-runs ...`: a module is called like its command."
