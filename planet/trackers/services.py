"Weights & Biases, TensorBoard, trackio and MLflow as trackers; each imports its package when it is used."
import json
import os
import platform
import re
import time
import warnings
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from planet.cli import UserError
from .interface import Tracker, flat, is_picture, quietly, why_not_reached

__all__ = ['Wandb', 'TensorBoard', 'Trackio', 'MLflow']

class Wandb(Tracker):
    "Weights & Biases, online or offline; an offline run lies in the run's folder until `wandb sync` sends it."
    package = 'wandb'
    SETTINGS = dict(console='off', silent=True, finish_timeout=300) # of 0.31; stdout stays as it is

    @staticmethod
    def mode(options) -> str:
        "`wandb_mode`, else the environment's, else online."
        return options.get('wandb_mode') or os.environ.get('WANDB_MODE') or 'online'

    @classmethod
    def check(cls, options):
        if cls.mode(options) != 'online': return
        import wandb
        url, offline = wandb.setup().settings.base_url, '`wandb_mode` offline keeps the run on disk, to be sent later'
        with quietly():
            try:
                if not wandb.login(prompt=False, verify=False):
                    raise UserError(f'no key for W&B: wandb login, or set WANDB_API_KEY; or {offline}')
                if why := why_not_reached(url):
                    raise UserError(f'W&B cannot be reached at {url} ({why}): connect to the network; or {offline}')
                wandb.Api(timeout=10) # asks the server who this is: `login` verifies a key once at most
            except wandb.errors.Error as e:
                why = ' '.join(str(e).split())
                raise UserError(f'W&B does not accept the key ({why}): wandb login anew; or {offline}') from None

    def start(self, config, step=0):
        import wandb
        folder = os.environ.get('WANDB_DIR') or self.path
        # one id for one folder: a run that is resumed goes on there
        own = sha1(f'{platform.node()} {self.path}'.encode()).hexdigest()[:12]
        self.run = wandb.init(
            project=os.environ.get('WANDB_PROJECT') or self.experiment, name=self.name, id=own, config=config,
            dir=folder, resume='allow' if step else None, mode=self.mode(self.options),
            settings=wandb.Settings(**self.SETTINGS))
        self.step, self.remote = step, self.mode(self.options) == 'online'
        if self.remote: return self.run.url
        return f'wandb sync {Path(self.run.dir).parent}' if self.run.offline else None # WANDB_MODE=disabled
    def log(self, step, metrics):
        self.step = step
        self.run.log(metrics, step=step)
    def show(self, name, value): self.run.log({name: value}, step=self.step)
    def table(self, name, frame): self.show(name, self.as_table(frame))
    def as_table(self, frame):
        "A `DataFrame` as wandb's own."
        import wandb
        cells = [[wandb.Image(v) if is_picture(v) else getattr(v, 'item', lambda v=v: v)() for v in row]
                 for row in frame.itertuples(index=False)]
        return wandb.Table(columns=[str(c) for c in frame], data=cells, allow_mixed_types=True)
    def curve(self, name, frame):
        import wandb
        lines = [frame[c].tolist() for c in frame]
        self.show(name, wandb.plot.line_series(frame.index.tolist(), lines, keys=[str(c) for c in frame], title=name,
                                               xname=frame.index.name))
    def file(self, path):
        import wandb
        if path.suffix == '.png': return self.show(path.stem, wandb.Image(str(path)))
        if path.suffix != '.html': return self.run.save(str(path), base_path=str(path.parent), policy='now')
        with open(path, encoding='utf-8') as f: self.show(path.stem, wandb.Html(f, inject=False))
    def artifact(self, path):
        import wandb
        model = wandb.Artifact(re.sub(r'[^\w.-]', '_', self.experiment), type='model', metadata=dict(run=self.name))
        # the file itself is sent, not a copy in the user's cache
        (model.add_dir if path.is_dir() else model.add_file)(str(path), policy='immutable')
        self.run.log_artifact(model)
    def finish(self, status, scores):
        import wandb
        try:
            self.run.summary.update({f'scores/{k}': v for k, v in scores.items()} | dict(status=status))
            self.run.finish(exit_code=int(status != 'done'))
        except Exception:
            with suppress(Exception): wandb.teardown() # or its dead process ends ours with a traceback
            raise

class TensorBoard(Tracker):
    "TensorBoard: event files in the folder `tensorboard` of the run."
    package = 'tensorboard'
    PICTURES = 36 # of a table
    def start(self, config, step=0):
        from torch.utils.tensorboard import SummaryWriter
        self.config, self.step, folder = config, step, self.path/'tensorboard'
        self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)
        self.writer.add_text('config', '    ' + json.dumps(config, indent=2, default=str).replace('\n', '\n    '))
        return str(folder)
    def log(self, step, metrics):
        self.step = step
        for name, value in metrics.items(): self.writer.add_scalar(name, value, step)
        self.writer.flush() # a run that is killed keeps its epochs
    def table(self, name, frame):
        import numpy as np
        if 'image' in frame:
            pictures = [p.convert('RGB') for p in frame['image'] if p is not None][:self.PICTURES]
            stack = np.stack([np.asarray(p.resize(pictures[0].size)) for p in pictures])
            self.writer.add_images(name, stack, self.step, dataformats='NHWC')
            frame = frame.drop(columns='image')
        def cell(v): return (f'{v:.3g}' if isinstance(v, float) else str(v)).replace('|', '\\|')
        rows = [list(frame), ['---']*frame.shape[1], *frame.itertuples(index=False)]
        self.writer.add_text(name, '\n'.join(f"| {' | '.join(map(cell, row))} |" for row in rows), self.step)
    def curve(self, name, frame): # there is no other x than the step: percent
        for column in frame:
            for x, y in frame[column].items(): self.writer.add_scalar(f'{name}, percent/{column}', y, round(100*x))
    def file(self, path):
        if path.suffix != '.png': return
        import numpy as np
        from PIL import Image
        with Image.open(path) as f:
            self.writer.add_image(path.stem, np.asarray(f.convert('RGB')), self.step, dataformats='HWC')
    def artifact(self, path): self.writer.add_text('model', str(path), self.step)
    def finish(self, status, scores):
        known = {k: v for k, v in flat(self.config).items() if isinstance(v, (int, float, str))}
        self.writer.add_hparams(known, {f'scores/{k}': v for k, v in scores.items()}, run_name='.')
        self.writer.add_text('status', status, self.step)
        self.writer.close()

class Trackio(Tracker):
    "trackio: one database for all runs of a user, in TRACKIO_DIR; `trackio show` opens it."
    package = 'trackio'
    def start(self, config, step=0):
        import trackio
        self.step = step
        trackio.init(project=self.experiment, name=self.name, config=flat(config), resume='allow' if step else 'never',
                     embed=False, auto_log_gpu=False, auto_log_cpu=False)
        return f'trackio show, project {self.experiment}'
    def log(self, step, metrics):
        self.step = step
        self.show(metrics)
    def show(self, values):
        import trackio
        with warnings.catch_warnings(record=True) as caught: # its way to tell of an error
            warnings.simplefilter('always')
            trackio.log(values, step=self.step)
        if caught: raise RuntimeError(str(caught[0].message))
    def table(self, name, frame):
        import trackio
        if 'image' in frame: frame = frame.assign(image=[p and trackio.Image(p) for p in frame['image']])
        self.show({name: trackio.Table(dataframe=frame)})
    def file(self, path):
        import trackio
        if path.suffix == '.png': self.show({path.stem: trackio.Image(str(path))})
        if path.suffix == '.html': self.show({path.stem: trackio.Html(path.read_text(encoding='utf-8'))})
    def artifact(self, path):
        import trackio
        trackio.log_artifact(path, name=f'{self.experiment}-model', type='model')
    def finish(self, status, scores):
        import trackio
        self.show({f'scores/{k}': v for k, v in scores.items()} | dict(status=status))
        trackio.finish()

class MLflow(Tracker):
    "MLflow: the server or file of MLFLOW_TRACKING_URI, or a SQLite file `mlflow.db` beside the experiments' records."
    package = 'mlflow'
    STATUS = dict(done='FINISHED', interrupted='KILLED')
    QUICK = dict(MLFLOW_DISABLE_TELEMETRY='true', MLFLOW_HTTP_REQUEST_MAX_RETRIES='2', MLFLOW_HTTP_REQUEST_TIMEOUT='20')

    @classmethod
    def check(cls, options):
        url = os.environ.get('MLFLOW_TRACKING_URI', '')
        if url.startswith('http') and (why := why_not_reached(url)):
            raise UserError(f'MLflow cannot be reached at {url} ({why}): start its server, or unset '
                            'MLFLOW_TRACKING_URI to write to a file')

    def start(self, config, step=0):
        for name, value in self.QUICK.items(): os.environ.setdefault(name, value) # read when it is imported
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient
        home = self.path.parent.parent
        given, own = os.environ.get('MLFLOW_TRACKING_URI'), f"sqlite:///{(home/'mlflow.db').as_posix()}"
        self.client, where = MlflowClient(given or own), None if given else (home/'mlartifacts').as_uri()
        name = os.environ.get('MLFLOW_EXPERIMENT_NAME') or self.experiment
        known = self.client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self.client.create_experiment(name, artifact_location=where)
        tags, before = {'planet.folder': str(self.path)}, []
        if step: before = self.client.search_runs([experiment], f"tags.`planet.folder` = '{self.path}'")
        run = before[0] if before else self.client.create_run(experiment, tags=tags, run_name=self.name)
        self.id = run.info.run_id
        params = [] if before else [Param(re.sub(r'[^\w./ -]', '_', k), str(v)) for k, v in flat(config).items()]
        for i in range(0, len(params), 100): self.client.log_batch(self.id, params=params[i:i+100])
        self.remote = bool(given)
        return given or f'MLFLOW_BACKEND_STORE_URI={own} mlflow ui'
    def log(self, step, metrics):
        from mlflow.entities import Metric
        self.step, now = step, int(1000*time.time())
        found = [Metric(re.sub(r'[^\w./ -]', '_', k), v, now, step) for k, v in metrics.items()]
        self.client.log_batch(self.id, metrics=found)
    def table(self, name, frame):
        import mlflow
        if 'image' in frame: frame = frame.assign(image=[p and mlflow.Image(p) for p in frame['image']])
        self.client.log_table(self.id, frame, f'{name}.json')
    def file(self, path): self.client.log_artifact(self.id, str(path))
    def artifact(self, path):
        (self.client.log_artifacts if path.is_dir() else self.client.log_artifact)(self.id, str(path), 'model')
    def finish(self, status, scores):
        self.log(self.step, {f'scores/{k}': v for k, v in scores.items()})
        self.client.set_terminated(self.id, self.STATUS.get(status, 'FAILED'))
