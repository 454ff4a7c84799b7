"Each output of a tagged scene is opened by another tool's reader, and holds what the windows have."
import json
import numpy as np
import pytest
from planted import DEGREES, ROTATED, UTM, VOCAB, Colours, plant, write  # first: it skips without `geo`

# isort: split
import geopandas
import pandas as pd
import pyarrow.dataset
import pyarrow.parquet
import pyogrio
import rasterio
from planet import scene_files
from planet.cli import UserError
from planet.scene_files import write_scene
from planet.scenes import tag_scene

@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    path, _ = plant(tmp_path_factory.mktemp('scene')/'s.tif')
    return tag_scene(Colours(), path)

def same(table, scene):
    expected = scene.table()
    assert len(table) == len(expected) == 48
    for name in ('row', 'column', 'tags'): assert list(table[name]) == list(expected[name])
    for name in (*VOCAB, 'padded', 'nodata', 'lon', 'lat'): assert np.allclose(table[name], expected[name], atol=1e-6)

def test_geoparquet(scene, tmp_path):
    path = write_scene(scene, tmp_path/'t.parquet')
    meta = json.loads(pyarrow.parquet.read_schema(path).metadata[b'geo'])
    column = meta['columns'][meta['primary_column']]
    assert column['encoding'] == 'WKB' and column['crs']['id']['code'] == 32720
    table = pyarrow.parquet.read_table(path).to_pandas()
    same(table, scene)
    frame = geopandas.read_parquet(path)
    assert frame.crs == UTM[0] and np.allclose(frame.total_bounds[:2], [5e5, 9_640_000 - 10*340])

def test_geopackage(scene, tmp_path):
    path = write_scene(scene, tmp_path/'t.gpkg')
    assert pyogrio.list_layers(path).tolist() == [['windows', 'Polygon']]
    frame = pyogrio.read_dataframe(path)
    same(frame, scene)
    assert frame.crs == UTM[0] and (frame.geometry.bounds.values == scene.frame().geometry.bounds.values).all()

def test_geojson_is_in_degrees(scene, tmp_path):
    path = write_scene(scene, tmp_path/'t.geojson')
    features = json.loads(path.read_text())['features']
    x, y = np.array(features[0]['geometry']['coordinates'][0]).T
    assert x.min() > -64 and x.max() < -62 and y.min() > -4 and y.max() < -3
    same(pd.DataFrame([f['properties'] for f in features]), scene)
    back = geopandas.read_file(path).to_crs(UTM[0])
    assert np.allclose(back.geometry.bounds, scene.frame().geometry.bounds, atol=.05) # 7 digits are 1 cm

def test_csv(scene, tmp_path): same(pd.read_csv(write_scene(scene, tmp_path/'t.csv'), keep_default_na=False), scene)

@pytest.mark.parametrize('place', [UTM, DEGREES, ROTATED], ids=['utm', 'degrees', 'rotated'])
def test_cloud_optimised_geotiff(tmp_path, place):
    path, _ = plant(tmp_path/'s.tif', place)
    scene = tag_scene(Colours(), path, [tmp_path/'t.tif'], overlap=.75)
    with rasterio.open(tmp_path/'t.tif') as f:
        assert f.tags(ns='IMAGE_STRUCTURE')['LAYOUT'] == 'COG' and f.dtypes == ('float32',)*3
        assert f.descriptions == tuple(VOCAB) and np.isnan(f.nodata) and f.crs == place[0]
        assert (np.moveaxis(f.read(), 0, 2) == scene.cells).all()
        assert np.allclose(f.transform[:6], scene.cell_transform[:6])
        assert json.loads(f.tags()['planet'])['windows'] == len(scene.windows)

def test_a_large_raster_has_overviews(scene, tmp_path):
    from dataclasses import replace
    large = replace(scene, cells=np.random.default_rng(0).random((700, 1100, 3), np.float32))
    with rasterio.open(write_scene(large, tmp_path/'t.tif')) as f:
        assert f.overviews(1) and (np.moveaxis(f.read(), 0, 2) == large.cells).all()

def test_tags_that_are_called_like_a_column(tmp_path):
    path, _ = plant(tmp_path/'s.tif')
    tagger = Colours()
    tagger.vocab = ['row', 'Geometry', 'açaí "palm"']
    tag_scene(tagger, path, [tmp_path/f't.{e}' for e in ('parquet', 'gpkg', 'geojson', 'csv', 'tif', 'html')])
    for frame in (geopandas.read_parquet(tmp_path/'t.parquet'), geopandas.read_file(tmp_path/'t.gpkg'),
                  geopandas.read_file(tmp_path/'t.geojson'), pd.read_csv(tmp_path/'t.csv')):
        assert {'row', 'p_row', 'p_Geometry', 'açaí "palm"'} <= set(frame.columns)

def test_nothing_tagged_at_all(tmp_path):
    path = write(tmp_path/'s.tif', np.zeros((3, 200, 200), np.uint8), *UTM)
    outs = [tmp_path/f't.{e}' for e in ('parquet', 'gpkg', 'geojson', 'csv', 'tif', 'html')]
    scene = tag_scene(Colours(), path, outs)
    assert scene.about['empty'] == 16 and all(o.exists() for o in outs) and len(geopandas.read_parquet(outs[0])) == 0
    assert len(pyogrio.read_dataframe(outs[1])) == 0

def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path, _ = plant(tmp_path/'s.tif')
    (tmp_path/'t.csv').write_text('before')
    def half(scene, path):
        path.write_text('half')
        raise OSError(28, 'No space left on device')
    monkeypatch.setitem(scene_files.WRITERS, '.csv', half)
    with pytest.raises(UserError, match='t.csv could not be written .*No space left.* `resume` writes the files'):
        tag_scene(Colours(), path, [tmp_path/'t.parquet', tmp_path/'t.csv'], overwrite=True)
    assert (tmp_path/'t.csv').read_text() == 'before' and not list(tmp_path.glob('.part*'))
    monkeypatch.undo()
    class Silent(Colours): # but for the question what it says of noise, nothing is computed again
        asked = 0
        def probabilities(self, pixels):
            self.asked += len(pixels)
            return super().probabilities(pixels)
    silent = Silent()
    tag_scene(silent, path, [tmp_path/'t.parquet', tmp_path/'t.csv'], resume=True)
    assert silent.asked == 1 and len(pd.read_csv(tmp_path/'t.csv')) == 48

def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    from planet import rasters
    path, _ = plant(tmp_path/'s.tif')
    monkeypatch.setattr(rasters, 'find_spec', lambda name: None if name in ('pyogrio', 'pyarrow') else True)
    with pytest.raises(UserError, match=r"need pyogrio: pip install 'planet-chips\[geo\]'"):
        tag_scene(Colours(), path, [tmp_path/'t.gpkg'])
