"The commands `planet-data ...`: a module is called like its command."
