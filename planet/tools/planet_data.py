"`planet-data`: download, verify, count and browse chips; check the machine. Each command is a few lines."
from planet.cli import UserError, run_command, say
from planet.options import check_options

def get(
    what:str, # kaggle, hf, ucmerced, eurosat, bigearthnet, sample, tiny, pets, titanic, mnist, biwi or synthetic
    to:str='', # the folder to make; by default data/planet, data/NAME, or fastai's or our own cache
    tif:bool=False, # kaggle: the four-band TIFFs as well
    dataset:str='', # take the images from this dataset (owner/name) of Kaggle (kaggle) or of the Hugging Face hub (hf)
    bands:str='', # bigearthnet: the bands to keep, or all; by default B04,B03,B02,B08
):
    "Download a set of images or a table, check it and unpack it; what is there already is not fetched again."
    from planet.tools import get
    say(get.get(what, to, tif, dataset, bands))

def verify(
    folder:str, # folder with a label table and images
    workers:int=0, # threads that read images; 0: one a core
    label_delim:str='', # what separates tags: a character, space, or none where a cell is one tag; by default detected
    bands:str='', # of GeoTIFF chips: red,green,blue,nir, numbers from 1, or all; by default red, green, blue
):
    "Check a folder of chips: table, tags, images, sizes, duplicates, splits. Exit status 1 if training would fail."
    check_options(dict(workers=workers))
    from planet.tools.verify import verify
    report = verify(folder, workers, label_delim, bands)
    say(report)
    return 0 if report.ok else 1

def doctor():
    "Check this machine: Python, torch, memory, accounts, weights; each line says ok or what to do."
    from planet.tools.doctor import doctor
    return 0 if doctor() else 1

def stats(
    folder:str, # folder with a label table
    plot:bool=False, # draw the figures as well: counts, tags that occur together, and from images a sheet for each tag
    out:str='', # folder for the figures; by default FOLDER/stats
    label_delim:str='', # what separates tags: a character, space, or none where a cell is one tag; by default detected
):
    "Count tags, tags per chip and tag sets; works from the table alone, without images."
    from planet.tools.stats import stats
    stats(folder, plot, out, label_delim)

def explore(
    folder:str, # folder with a label table and images
    record:str='', # a run's folder or name, last or best: shows its predictions as well
    port:int=5151, # port of the app
    address:str='localhost', # address of the app; 0.0.0.0 lets other machines in
    keep:str='', # keep the dataset under this name in FiftyOne's database; by default it is deleted with the app
):
    "Browse chips, tags and predictions in FiftyOne's app (needs the extra: pip install 'planet-chips[fiftyone]')."
    from planet.tools import explore
    explore.app(folder, record, port, address, keep)

def neighbours(
    folder:str, # folder of chips of one size, with or without a table; or sample, synthetic, competition
    out:str='', # folder for neighbours.csv and groups.csv; has to be given
    plot:bool=False, # draw the largest scene put together again, scene.png, and the least certain pairs, pairs.png
    workers:int=0, # threads that read images; 0: one a core
    skip_bad:bool=False, # leave out chips that cannot be read
    overwrite:bool=False, # write over what is in OUT
):
    "Find chips that were cut side by side, by their borders, and the groups that keep them on one side of a split."
    check_options(dict(workers=workers))
    if not out: raise UserError('is needed: the folder for neighbours.csv and groups.csv', 'out')
    from planet.tools import neighbours
    neighbours.neighbours(folder, out, plot, workers, skip_bad, overwrite)

def main():
    "The command `planet-data`."
    run_command('planet-data', [get, verify, doctor, stats, explore, neighbours],
                'the same command again goes on from here')

if __name__ == '__main__': main()
