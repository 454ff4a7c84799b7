"A tagged scene as GeoParquet, GeoPackage, GeoJSON, CSV, Cloud-Optimised GeoTIFF or HTML map; the ending picks one."
import json
from dataclasses import dataclass, field
from pathlib import Path
import numpy as np
from planet.cli import UserError, near_names
from planet.rasters import INSTALL, Raster, check_installed

__all__ = ['TaggedScene', 'WRITERS', 'NEEDS', 'check_outputs', 'write_scene']

@dataclass
class TaggedScene:
    "The windows of a scene with their probabilities and tags; on a grid of cells, averaged where windows overlap."
    raster:Raster
    grid:object # `planet.scenes.Grid`
    vocab:list
    windows:np.ndarray # `(n,)` numbers of the tagged windows, in order
    probs:np.ndarray # `(n, tags)` float32
    tags:np.ndarray # `(n, tags)` bool
    nodata:np.ndarray # `(n,)` share of each window inside the scene that holds no measurement
    cells:np.ndarray # `(rows, columns, tags)` float32, NaN where nothing was tagged
    cell_tags:np.ndarray # the same shape, bool
    areas:object = None # table of `planet.scenes.tag_areas`, a row a tag
    about:dict = field(default_factory=dict) # what else to say: counts, scale, sizes

    @property
    def cell_transform(self):
        "The geotransform of the cells."
        from affine import Affine
        (down, along), (a, b, c, d, e, f) = self.grid.step, self.raster.transform
        return Affine(a*along, b*down, c, d*along, e*down, f)

    def corners(self, index=None) -> np.ndarray: # `(n, 4, 2)` x and y
        "Corners of windows in the scene's CRS, from the upper left on; what reaches over the scene's edge is cut off."
        row, column, height, width = self.grid.boxes(self.windows if index is None else index).T
        columns = np.stack([column, column + width, column + width, column], 1)
        return np.stack(self.raster.xy(columns, np.stack([row, row, row + height, row + height], 1)), 2)

    def table(self):
        "A table with a row a window: place in pixels and degrees, shares padded and without data, tags, probabilities."
        import pandas as pd
        boxes = self.grid.boxes(self.windows)
        row, column, height, width = boxes.T
        lon, lat = self.raster.lonlat(column + width/2, row + height/2)
        first = dict(window=self.windows, row=row, column=column, lon=lon, lat=lat,
                     padded=self.grid.padded(self.windows).astype(np.float32), nodata=self.nodata,
                     tags=[' '.join(t for t, yes in zip(self.vocab, some) if yes) for some in self.tags])
        taken = {*first, 'geometry', 'geom', 'fid', 'scene'}
        names = [f'p_{t}' if t.lower() in taken else t for t in self.vocab]
        return pd.DataFrame(first | dict(zip(names, self.probs.T)))

    def frame(self):
        "The same as a GeoDataFrame of the windows' outlines, in the scene's CRS."
        check_installed('geopandas', 'shapely')
        import geopandas
        import shapely
        return geopandas.GeoDataFrame(self.table(), geometry=shapely.polygons(self.corners()), crs=self.raster.crs)

def _parquet(scene, path): scene.frame().to_parquet(path, index=False)

def _gpkg(scene, path): scene.frame().to_file(path, driver='GPKG', layer='windows', engine='pyogrio')

def _geojson(scene, path): # the standard knows longitude and latitude alone
    scene.frame().to_crs('EPSG:4326').to_file(path, driver='GeoJSON', engine='pyogrio', RFC7946='YES')

def _csv(scene, path): scene.table().to_csv(path, index=False)

def _cog(scene, path):
    "One band a tag, one pixel a cell; NaN where nothing was tagged."
    import rasterio
    import rasterio.shutil
    rows, columns, tags = scene.cells.shape
    profile = dict(driver='GTiff', height=rows, width=columns, count=tags, dtype='float32', nodata=np.nan,
                   crs=scene.raster.crs, transform=scene.cell_transform, BIGTIFF='IF_SAFER', interleave='band')
    with rasterio.MemoryFile() as memory:
        with memory.open(**profile) as made:
            made.write(np.moveaxis(scene.cells, 2, 0))
            made.update_tags(planet=json.dumps(scene.about, default=str))
            for i, tag in enumerate(scene.vocab, 1):
                made.set_band_description(i, str(tag))
                made.update_tags(i, tag=tag)
        with memory.open() as made: # beyond 4 GB a TIFF needs longer offsets, which GDAL cannot always foresee
            rasterio.shutil.copy(made, str(path), driver='COG', compress='DEFLATE', BIGTIFF='IF_SAFER',
                                 overview_resampling='average')

def _html(scene, path):
    from planet.tag_map import map_page
    path.write_text(map_page(scene), encoding='utf-8')

WRITERS = {'.parquet': _parquet, '.gpkg': _gpkg, '.geojson': _geojson, '.csv': _csv, '.tif': _cog, '.html': _html}
NEEDS = {'.parquet': ('geopandas', 'pyarrow'), '.gpkg': ('geopandas', 'pyogrio'), '.geojson': ('geopandas', 'pyogrio')}

def check_outputs(out, # files to write
                  source, # the scene
                  overwrite:bool=False, # may they exist?
                 ) -> list: # paths
    "Check files before anything is read: known endings, folders that exist, packages, nothing overwritten unasked."
    out = [out] if isinstance(out, (str, Path)) else out
    paths = [Path(o).expanduser() for o in out or ()]
    for i, path in enumerate(paths):
        ending = path.suffix.lower()
        if ending not in WRITERS: raise UserError(f"{path} ends in none of {', '.join(WRITERS)}"
                                                  f"{near_names(ending, WRITERS, 1)}", 'out')
        check_installed('rasterio', *NEEDS.get(ending, ()))
        if path.is_dir(): raise UserError(f'{path} is a folder: name a file', 'out')
        if not path.parent.is_dir(): raise UserError(f'{path}: there is no folder {path.parent}: make it', 'out')
        if path in paths[:i]: raise UserError(f'{path} is given twice', 'out')
        if path.resolve() == Path(source).resolve(): raise UserError(f'{path} is the scene itself: name another', 'out')
        if path.exists() and not overwrite:
            raise UserError(f'{path} exists: give `overwrite`, or name another file', 'out')
    return paths

def write_scene(scene:TaggedScene,
                path, # its ending picks the format
               ) -> Path: # `path`
    "Write a tagged scene into one file, whole or not at all."
    path = Path(path)
    part = path.with_name(f'.part-{path.name}') # the ending stays: drivers look at it
    try:
        try: WRITERS[path.suffix.lower()](scene, part)
        except ImportError as e: raise UserError(f'{path} needs {e.name}: {INSTALL}') from None
        part.replace(path)
    finally:
        for left in (part, Path(f'{part}-journal')): left.unlink(missing_ok=True)
    return path
