"""`planet-tag MODEL INPUT...`: tag image files, folders, archives or scenes with a trained model; build submissions.

MODEL is a model folder, a run's folder or name, `last` or `best`. INPUT: images, folders, globs, archives, tables."""
from typing import Annotated
from planet.cli import run_one

def tag(
    model:str, # model folder, run, last or best
    inputs:Annotated[str, dict(nargs='*', metavar='INPUT')], # images, folders, 'globs', archives, tables of paths
    out:str='', # file to write, by its ending: .csv, .jsonl, .parquet; of a scene also .gpkg, .geojson, .tif, .html
    overwrite:bool=False, # replace an output that exists
    resume:bool=False, # go on with an output that was broken off
    engine:str='torch', # what runs the network: torch, onnx, int8, openvino; for many scenes also ray
    bs:int=0, # images in a batch; 0: as many as when the model was scored
    workers:int=0, # threads that decode images; 0: one a core
    column:str='', # where INPUT is a table: its column of image paths
    recall:str='', # find at least this share of a tag, such as conventional_mine=0.9; several by comma
    one_weather:bool=False, # of the weather (the model's mutually exclusive tags) give exactly one, the likeliest
    confidence:float=0.95, # probability with which `recall` holds for new chips
    submission:str='', # folder of the competition: tag its test chips and write a submission
    upload:str='', # message: send the submission to Kaggle and wait for its score
    export:str='', # add onnx or int8 (several by comma; openvino takes onnx) to the model folder, checked
    data:str='', # labelled chips to check an `export` with; by default those that the model was trained on
    serve:bool=False, # open a page in the browser to drop images on
    host:str='127.0.0.1', # address of the page; 0.0.0.0 lets other machines in
    port:int=7860, # port of the page
    upload_limits:str='', # limits of an upload to the page, such as megabytes=32,megapixels=25,files=50,windows=1000
    overlap:float=0, # overlap of a scene's windows, as a share of a window's side
    scale:str='', # values of a scene that become black and white: percentile, fixed or LOW:HIGH
    bands:str='', # of a scene: names or numbers in the model's order, such as red,green,blue
    metres:float=0, # of a scene: ground size of a window's side; 0: that of the training chips
    html:str='', # of a scene: write a page with a map to this file
    runs:str='runs', # where records of runs lie
):
    "Tag images or scenes with a trained model: probabilities and tags as a table, a map or a submission."
    from planet.options import check_options
    from planet.tools.tag import tag_command
    given = dict(locals())
    check_options({k: v for k, v in given.items() if k in ('workers',) or k == 'bs' and v})
    return tag_command(given)

def main():
    "The command `planet-tag`."
    run_one('planet-tag', tag, 'nothing was written')

if __name__ == '__main__': main()
